/* The Python functions of prompting. Their callers (prompt/cpu.py) check what users hand over; here only what
 * could reach outside of memory is checked again. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "methods.h"
#include "prompt_run.h"

/* Colours as Python holds them when they are prepared: a capsule of this name. */
static const char PREPARED[] = "gen2seg_kernels.prepared";

/* The arguments that both modes share, and the buffers behind them. `colors` stays empty if they are prepared. */
typedef struct {
    Py_buffer colors, points, positive, starts, out;
    g2s_request request;
} call;

static void close_call(call *c)
{
    Py_buffer *buffers[] = {&c->colors, &c->points, &c->positive, &c->starts, &c->out};
    for (int i = 0; i < 5; i++)
        if (buffers[i]->obj)
            PyBuffer_Release(buffers[i]);
}

static int open_colors(call *c, PyObject *object)
{
    if (!PyCapsule_CheckExact(object))
        return PyObject_GetBuffer(object, &c->colors, PyBUF_STRIDED_RO) == 0;
    const g2s_prepared *prepared = PyCapsule_GetPointer(object, PREPARED);
    if (prepared)
        c->request.prepared = &prepared->field;
    return prepared != NULL;
}

static int open_buffers(call *c, PyObject *const objects[5])
{
    return open_colors(c, objects[0]) &&
           PyObject_GetBuffer(objects[1], &c->points, PyBUF_C_CONTIGUOUS) == 0 &&
           PyObject_GetBuffer(objects[2], &c->positive, PyBUF_C_CONTIGUOUS) == 0 &&
           PyObject_GetBuffer(objects[3], &c->starts, PyBUF_C_CONTIGUOUS) == 0 &&
           PyObject_GetBuffer(objects[4], &c->out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) == 0;
}

/* The starts must rise from 0 to the number of points. */
static int starts_fit(const int64_t *starts, Py_ssize_t prompts, Py_ssize_t points)
{
    for (Py_ssize_t k = 0; k < prompts; k++)
        if (starts[k] > starts[k + 1])
            return 0;
    return starts[0] == 0 && starts[prompts] == points;
}

static int points_fit(const double *points, Py_ssize_t n, Py_ssize_t height, Py_ssize_t width)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        const double x = points[2 * i], y = points[2 * i + 1];
        if (!(x >= -0.5 && x <= width - 0.5 && y >= -0.5 && y <= height - 0.5))
            return 0;
    }
    return 1;
}

static int colors_fit(const Py_buffer *colors)
{
    const Py_ssize_t *shape = colors->shape;
    return colors->ndim == 3 && colors->itemsize == 1 && shape[0] >= 1 && shape[1] >= 1 && shape[2] == 3 &&
           shape[0] <= INT32_MAX / 2 && shape[1] <= INT32_MAX / 2;
}

static g2s_colors colors_of(const Py_buffer *colors)
{
    const Py_ssize_t *shape = colors->shape, *step = colors->strides;
    return (g2s_colors){colors->buf, (int)shape[0], (int)shape[1], step[0], step[1], step[2]};
}

static int fill_request(call *c)
{
    const Py_ssize_t n = c->positive.len, prompts = c->starts.len / (Py_ssize_t)sizeof(int64_t) - 1;
    g2s_colors *colors = &c->request.colors;
    if (c->request.prepared)
        *colors = (g2s_colors){.height = c->request.prepared->height, .width = c->request.prepared->width};
    else if (colors_fit(&c->colors))
        *colors = colors_of(&c->colors);
    if (colors->height < 1 || prompts < 0 || c->points.len != n * 2 * (Py_ssize_t)sizeof(double) ||
        !starts_fit(c->starts.buf, prompts, n) || !points_fit(c->points.buf, n, colors->height, colors->width) ||
        c->out.len != prompts * colors->height * colors->width) {
        PyErr_SetString(PyExc_ValueError, "the arrays' shapes do not fit each other");
        return 0;
    }
    c->request.points = c->points.buf;
    c->request.positive = c->positive.buf;
    c->request.starts = c->starts.buf;
    c->request.prompts = prompts;
    c->request.out = c->out.buf;
    return 1;
}

static PyObject *run_call(call *c)
{
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = g2s_run_prompts(&c->request);
    Py_END_ALLOW_THREADS
    if (!done)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static void forget(PyObject *capsule)
{
    g2s_forget(PyCapsule_GetPointer(capsule, PREPARED));
}

/* prompt_prepare(colors, threads) -> capsule that the other functions take in place of the colours */
PyObject *g2s_py_prompt_prepare(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer buffer;
    PyObject *object;
    int threads;
    if (!PyArg_ParseTuple(args, "Oi", &object, &threads) || PyObject_GetBuffer(object, &buffer, PyBUF_STRIDED_RO) != 0)
        return NULL;
    if (!colors_fit(&buffer)) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "colors must be (height, width, 3) bytes");
        return NULL;
    }
    const g2s_colors colors = colors_of(&buffer);
    g2s_prepared *prepared;
    Py_BEGIN_ALLOW_THREADS
    prepared = g2s_prepare(&colors, threads);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&buffer);
    if (!prepared)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(prepared, PREPARED, forget);
    if (!capsule)
        g2s_forget(prepared);
    return capsule;
}

/* prompt_reference(colors, points, positive, starts, out, threads, sigma, threshold) */
PyObject *g2s_py_prompt_reference(PyObject *module, PyObject *args)
{
    (void)module;
    call c = {0};
    PyObject *objects[5], *result = NULL;
    if (!PyArg_ParseTuple(
            args, "OOOOOidd", &objects[0], &objects[1], &objects[2], &objects[3], &objects[4],
            &c.request.threads, &c.request.sigma, &c.request.threshold))
        return NULL;
    if (open_buffers(&c, objects) && fill_request(&c))
        result = run_call(&c);
    close_call(&c);
    return result;
}

/* prompt_metric(colors, points, positive, starts, out, threads, connected, (alike, inner, middle, outer), counts):
 * squared distances; counts None, or int64 (K, 2) for the pixels of the inner and outer mask. */
PyObject *g2s_py_prompt_metric(PyObject *module, PyObject *args)
{
    (void)module;
    call c = {.request.metric = 1};
    g2s_cut *cut = &c.request.cut;
    Py_buffer counts = {0};
    PyObject *objects[5], *count_object, *result = NULL;
    if (!PyArg_ParseTuple(
            args, "OOOOOip(dddd)O", &objects[0], &objects[1], &objects[2], &objects[3], &objects[4],
            &c.request.threads, &cut->connected, &cut->alike, &cut->inner, &cut->middle, &cut->outer,
            &count_object))
        return NULL;
    if (open_buffers(&c, objects) && fill_request(&c)) {
        if (count_object == Py_None)
            result = run_call(&c);
        else if (PyObject_GetBuffer(count_object, &counts, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) == 0) {
            c.request.counts = counts.buf;
            if (counts.len == c.request.prompts * 2 * (Py_ssize_t)sizeof(int64_t))
                result = run_call(&c);
            else
                PyErr_SetString(PyExc_ValueError, "counts must hold two numbers for each prompt");
            PyBuffer_Release(&counts);
        }
    }
    close_call(&c);
    return result;
}

/* use_isa(name): "any", "avx2", "avx512", or "" for the best; returns whether the processor has it. For tests. */
PyObject *g2s_py_use_isa(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    if (!PyArg_ParseTuple(args, "s", &name))
        return NULL;
    return PyBool_FromLong(g2s_use_isa(name));
}

/* filter_weights() -> 766 pairs: the definition's weight of each colour distance, and the approximated one. */
PyObject *g2s_py_filter_weights(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    float approximate[G2S_MOST_L1 + 1];
    g2s_prepare_filter();
    g2s_best_isa()->weights(approximate);
    PyObject *result = PyList_New(0);
    for (int l1 = 0; result && l1 <= G2S_MOST_L1; l1++) {
        PyObject *pair = Py_BuildValue("dd", (double)g2s_color_weights()[l1], (double)approximate[l1]);
        if (!pair || PyList_Append(result, pair) != 0)
            Py_CLEAR(result);
        Py_XDECREF(pair);
    }
    return result;
}
