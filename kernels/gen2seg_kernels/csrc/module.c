/* The extension module gen2seg_kernels._native: the table of its functions. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "methods.h"

static PyMethodDef methods[] = {
    G2S_PROMPT_METHODS
    G2S_LOSS_METHODS
    G2S_PIXEL_METHODS
    G2S_BOUNDARY_METHODS
    G2S_INSTANCE_METHODS
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gen2seg_kernels._native",
    .m_doc = "The kernels in C. Callers use gen2seg_kernels' Python functions, which check what they hand over.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
