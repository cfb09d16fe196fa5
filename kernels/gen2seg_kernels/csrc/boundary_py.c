/* The Python function `boundary_match`; its caller, boundary/cpu.py, lays the arrays out.
 *
 * boundary_match(pixels, numbers, columns, reach, distances, ends, worth, matched)
 * All arrays are C-contiguous buffers: int64, int32, -, int64, float64, int64, -, bool [groups, rows].
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "boundary.h"
#include "methods.h"

/* Memory safety does not rest on the caller: every place and number must lie within its array. */
static int fits(const g2s_boundary *in, int64_t places, int64_t matched)
{
    int64_t low = 0, high = 0, last = 0;
    for (int64_t k = 0; k < in->reaches; k++) {
        low = in->reach[k] < low ? in->reach[k] : low;
        high = in->reach[k] > high ? in->reach[k] : high;
    }
    for (int64_t row = 0; row < in->rows; row++)
        if (in->pixels[row] + low < 0 || in->pixels[row] + high >= places)
            return 0;
    for (int64_t place = 0; place < places; place++)
        if (in->numbers[place] >= in->columns)
            return 0;
    for (int64_t group = 0; group < in->groups; group++) {
        if (in->ends[group] < last || in->ends[group] > in->rows)
            return 0;
        last = in->ends[group];
    }
    return in->rows < INT32_MAX && in->columns >= 0 && in->columns < INT32_MAX && matched == in->groups * in->rows;
}

PyObject *g2s_py_boundary_match(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer pixels, numbers, reach, distances, ends, matched;
    long long columns;
    g2s_boundary input = {0};
    PyObject *result = NULL;
    if (!PyArg_ParseTuple(args, "y*y*Ly*y*y*dw*:boundary_match", &pixels, &numbers, &columns, &reach, &distances, &ends,
                          &input.worth, &matched))
        return NULL;
    input.pixels = pixels.buf;
    input.rows = pixels.len / 8;
    input.numbers = numbers.buf;
    input.columns = columns;
    input.reach = reach.buf;
    input.distances = distances.buf;
    input.reaches = reach.len / 8;
    input.ends = ends.buf;
    input.groups = ends.len / 8;
    input.matched = matched.buf;
    if (reach.len != distances.len || !fits(&input, numbers.len / 4, matched.len)) {
        PyErr_SetString(PyExc_ValueError, "boundary_match: the buffers do not fit together");
    } else {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        failed = g2s_boundary_match(&input);
        Py_END_ALLOW_THREADS
        result = failed ? PyErr_NoMemory() : Py_NewRef(Py_None);
    }
    Py_buffer *buffers[] = {&pixels, &numbers, &reach, &distances, &ends, &matched};
    for (int i = 0; i < 6; i++)
        PyBuffer_Release(buffers[i]);
    return result;
}
