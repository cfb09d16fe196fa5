/* CONTRACT: the attribute of a function in which a product and a sum may become one operation; all else in the
 * extension keeps them apart, to round as the definitions do. */
#if defined(__GNUC__) && !defined(__clang__)
#define CONTRACT __attribute__((optimize("fp-contract=fast")))
#else
#define CONTRACT
#endif
