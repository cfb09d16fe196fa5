/* The Python function `loss_image`; its caller, loss/cpu.py, checks shapes and types.
 *
 * loss_image(pred, float_type, labels, label_type, valid, ignore_background, weights, scale, grad, threads, level)
 * -> (intra, inter, mean level) of one image. All arrays are C-contiguous buffers; valid and grad may be None.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "loss.h"
#include "methods.h"

static const int64_t FLOAT_BYTES[] = {2, 2, 4, 8};
static const int64_t LABEL_BYTES[] = {1, 1, 2, 2, 4, 8};

/* Memory safety does not rest on the caller: every length must fit the number of pixels. */
static int check_lengths(const g2s_loss_input *input, int64_t pred_bytes, int64_t label_bytes, int64_t valid_bytes,
                         int64_t grad_bytes)
{
    const int64_t pixels = input->pixels;
    const int64_t grad_size = input->type == G2S_FLOAT64 ? 8 : 4;
    if (pixels <= INT32_MAX && pred_bytes == 3 * pixels * FLOAT_BYTES[input->type] &&
        label_bytes == pixels * LABEL_BYTES[input->label_type] && (valid_bytes < 0 || valid_bytes == pixels) &&
        (grad_bytes < 0 || grad_bytes == 3 * pixels * grad_size))
        return 1;
    PyErr_Format(PyExc_ValueError, "loss_image: buffers do not hold the same number of pixels, or over 2^31 - 1");
    return 0;
}

static PyObject *run(const g2s_loss_input *input, void *grad)
{
    double terms[3];
    int64_t lowest = 0;
    g2s_status status;
    Py_BEGIN_ALLOW_THREADS
    status = g2s_loss_image(input, terms, grad, &lowest);
    Py_END_ALLOW_THREADS
    if (status == G2S_NO_MEMORY)
        return PyErr_NoMemory();
    if (status == G2S_NEGATIVE_LABEL)
        return PyErr_Format(PyExc_ValueError,
                            "labels must be >= 0 where valid, got %lld; mark pixels without a label by valid=False",
                            (long long)lowest);
    return Py_BuildValue("(ddd)", terms[0], terms[1], terms[2]);
}

PyObject *g2s_py_loss_image(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer pred, labels, valid, grad = {0};
    int float_type, label_type;
    PyObject *grad_object, *result = NULL;
    g2s_loss_input input = {0};
    g2s_loss_weights *w = &input.weights;
    if (!PyArg_ParseTuple(args, "y*iy*iz*p(dddddd)dOii:loss_image", &pred, &float_type, &labels, &label_type, &valid,
                          &input.ignore_background, &w->inter_weight, &w->separation, &w->mean_separation,
                          &w->huber_delta, &w->intra_weight, &w->mean_weight, &input.scale, &grad_object,
                          &input.threads, &input.level))
        return NULL;
    if (float_type < G2S_FLOAT16 || float_type > G2S_FLOAT64 || label_type < G2S_UINT8 || label_type > G2S_INT64) {
        PyErr_SetString(PyExc_ValueError, "loss_image: unknown type of pred or labels");
        goto done;
    }
    if (grad_object != Py_None && PyObject_GetBuffer(grad_object, &grad, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0)
        goto done;
    input.pred = pred.buf;
    input.type = (g2s_float_type)float_type;
    input.labels = labels.buf;
    input.label_type = (g2s_label_type)label_type;
    input.valid = valid.buf;
    input.pixels = labels.len / LABEL_BYTES[label_type];
    if (check_lengths(&input, pred.len, labels.len, valid.obj ? valid.len : -1, grad.obj ? grad.len : -1))
        result = run(&input, grad.obj ? grad.buf : NULL);
done:
    PyBuffer_Release(&pred);
    PyBuffer_Release(&labels);
    if (valid.obj)
        PyBuffer_Release(&valid);
    if (grad.obj)
        PyBuffer_Release(&grad);
    return result;
}
