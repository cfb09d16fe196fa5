/* Which instruction set prompting uses. */
#include "prompt.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static _Atomic(const g2s_isa *) chosen;

#if defined(__x86_64__) && defined(__GNUC__)
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

static const g2s_isa *find(const char *name)
{
    const int any = !*name;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if ((any || !strcmp(name, "avx512")) && has_avx512())
        return &g2s_isa_avx512;
    if ((any || !strcmp(name, "avx2")) && has_avx2())
        return &g2s_isa_avx2;
#endif
    return any || !strcmp(name, "any") ? &g2s_isa_any : NULL;
}

const g2s_isa *g2s_best_isa(void)
{
    const g2s_isa *isa = atomic_load(&chosen);
    if (!isa) {
        isa = find("");
        atomic_store(&chosen, isa);
    }
    return isa;
}

int g2s_use_isa(const char *name)
{
    const g2s_isa *isa = find(name);
    if (isa)
        atomic_store(&chosen, isa);
    return isa != NULL;
}
