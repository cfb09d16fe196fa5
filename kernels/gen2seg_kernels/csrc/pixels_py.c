/* The Python functions of pixels/cpu.py; what could reach outside of memory is checked here. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "methods.h"
#include "pixels.h"

static PyObject *misfit(void)
{
    PyErr_SetString(PyExc_ValueError, "the arrays' shapes or types do not fit each other");
    return NULL;
}

static int is_array(const Py_buffer *buffer, const char *format, Py_ssize_t itemsize)
{
    return buffer->ndim == 3 && buffer->itemsize == itemsize && buffer->format && strcmp(buffer->format, format) == 0;
}

/* picture_to_planes(rgb, table, planes): all C-contiguous; planes is written. */
PyObject *g2s_py_picture_to_planes(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *objects[3], *result = NULL;
    Py_buffer rgb = {0}, table = {0}, planes = {0};
    if (!PyArg_ParseTuple(args, "OOO:picture_to_planes", &objects[0], &objects[1], &objects[2]))
        return NULL;
    if (PyObject_GetBuffer(objects[0], &rgb, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0 &&
        PyObject_GetBuffer(objects[1], &table, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0 &&
        PyObject_GetBuffer(objects[2], &planes, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE) == 0) {
        if (is_array(&rgb, "B", 1) && rgb.shape[2] == 3 && rgb.shape[0] >= 1 && rgb.shape[1] >= 1 &&
            is_array(&planes, "f", 4) && planes.shape[0] == 3 && planes.shape[1] >= rgb.shape[0] &&
            planes.shape[2] >= rgb.shape[1] && table.itemsize == 4 && table.len == 3 * 256 * 4) {
            Py_BEGIN_ALLOW_THREADS
            g2s_picture_to_planes(rgb.buf, rgb.shape[0], rgb.shape[1], table.buf, planes.buf, planes.shape[1],
                                  planes.shape[2]);
            Py_END_ALLOW_THREADS
            result = Py_NewRef(Py_None);
        } else
            misfit();
    }
    PyBuffer_Release(&rgb);
    PyBuffer_Release(&table);
    PyBuffer_Release(&planes);
    return result;
}

/* planes_to_colors(planes, low, high, colors) -> whether all was finite; adjacent values in a row of planes. */
PyObject *g2s_py_planes_to_colors(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *objects[2], *result = NULL;
    Py_buffer planes = {0}, colors = {0};
    float low, high;
    if (!PyArg_ParseTuple(args, "OffO:planes_to_colors", &objects[0], &low, &high, &objects[1]))
        return NULL;
    if (PyObject_GetBuffer(objects[0], &planes, PyBUF_STRIDES | PyBUF_FORMAT) == 0 &&
        PyObject_GetBuffer(objects[1], &colors, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE) == 0) {
        const Py_ssize_t *step = planes.strides;
        if (is_array(&planes, "f", 4) && is_array(&colors, "B", 1) && planes.shape[0] == 3 && colors.shape[2] == 3 &&
            planes.shape[1] == colors.shape[0] && planes.shape[2] == colors.shape[1] && step[2] == 4 &&
            step[0] % 4 == 0 && step[1] % 4 == 0) {
            int finite;
            Py_BEGIN_ALLOW_THREADS
            finite = g2s_planes_to_colors(planes.buf, step[0] / 4, step[1] / 4, planes.shape[1], planes.shape[2], low,
                                          high, colors.buf);
            Py_END_ALLOW_THREADS
            result = PyBool_FromLong(finite);
        } else
            misfit();
    }
    PyBuffer_Release(&planes);
    PyBuffer_Release(&colors);
    return result;
}
