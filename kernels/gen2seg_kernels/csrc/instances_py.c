/* The Python functions of instances/cpu.py; what could reach outside of memory is checked here.
 *
 * instance_leaves(colors, height, width, least, labels) -> how many
 * instance_tree(colors, height, width, labels, leaves, distance, least_area, background, largest_hole,
 *               child, begin, count, area, color, birth, outline) -> merges of the regions at the cut
 * All arrays are C-contiguous buffers of the types in instances.h; labels of the first and the last seven are written.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "instances.h"
#include "methods.h"

static PyObject *misfit(const char *name)
{
    return PyErr_Format(PyExc_ValueError, "%s: the buffers do not fit together", name);
}

static int is_picture(const Py_buffer *colors, const Py_buffer *labels, const g2s_picture *picture)
{
    return picture->height >= 1 && picture->width >= 1 && picture->width < INT32_MAX / picture->height &&
           colors->len == 3 * picture->height * picture->width && labels->len == 4 * picture->height * picture->width;
}

PyObject *g2s_py_instance_leaves(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer colors, labels;
    long long height, width, least;
    if (!PyArg_ParseTuple(args, "y*LLLw*:instance_leaves", &colors, &height, &width, &least, &labels))
        return NULL;
    const g2s_picture picture = {colors.buf, height, width};
    PyObject *result = NULL;
    if (is_picture(&colors, &labels, &picture)) {
        int64_t count;
        Py_BEGIN_ALLOW_THREADS
        count = g2s_leaves(&picture, least, labels.buf);
        Py_END_ALLOW_THREADS
        result = count < 0 ? PyErr_NoMemory() : PyLong_FromLongLong(count);
    } else
        misfit("instance_leaves");
    PyBuffer_Release(&colors);
    PyBuffer_Release(&labels);
    return result;
}

/* Each leaf must occur: borders and outlines are divided by their lengths. */
static int are_leaves(g2s_tree *tree)
{
    const int64_t pixels = tree->picture.height * tree->picture.width;
    int64_t different = 0;
    for (int64_t i = 0; i < tree->leaves; i++)
        tree->count[i] = 0;
    for (int64_t i = 0; i < pixels; i++) {
        if (tree->labels[i] < 0 || tree->labels[i] >= tree->leaves)
            return 0;
        different += tree->count[tree->labels[i]]++ == 0;
    }
    return different == tree->leaves;
}

PyObject *g2s_py_instance_tree(PyObject *module, PyObject *args)
{
    (void)module;
    enum { OUTPUTS = 7 };
    static const Py_ssize_t bytes[OUTPUTS] = {8, 4, 4, 8, 24, 8, 16};
    Py_buffer colors, labels, out[OUTPUTS];
    long long height, width, leaves, least_area, largest_hole;
    g2s_tree tree = {0};
    if (!PyArg_ParseTuple(args, "y*LLy*LdLdLw*w*w*w*w*w*w*:instance_tree", &colors, &height, &width, &labels, &leaves,
                          &tree.distance, &least_area, &tree.background, &largest_hole, &out[0], &out[1], &out[2],
                          &out[3], &out[4], &out[5], &out[6]))
        return NULL;
    tree.picture = (g2s_picture){colors.buf, height, width};
    tree.labels = labels.buf;
    tree.leaves = leaves;
    tree.least_area = least_area;
    tree.largest_hole = largest_hole;
    tree.child = out[0].buf;
    tree.begin = out[1].buf;
    tree.count = out[2].buf;
    tree.area = out[3].buf;
    tree.color = out[4].buf;
    tree.birth = out[5].buf;
    tree.outline = out[6].buf;
    int fits = is_picture(&colors, &labels, &tree.picture) && leaves >= 1 && leaves <= height * width &&
               leaves <= INT32_MAX / 6; /* borders, and three sums a leaf, are counted in int32 */
    for (int i = 0; i < OUTPUTS; i++)
        fits = fits && out[i].len == bytes[i] * (i ? 2 * leaves - 1 : leaves - 1);
    PyObject *result = NULL;
    if (fits) {
        int failed;
        Py_BEGIN_ALLOW_THREADS
        fits = are_leaves(&tree);
        failed = fits && g2s_merge(&tree);
        Py_END_ALLOW_THREADS
        if (fits)
            result = failed ? PyErr_NoMemory() : PyLong_FromLongLong(tree.cut);
    }
    if (!fits)
        misfit("instance_tree");
    PyBuffer_Release(&colors);
    PyBuffer_Release(&labels);
    for (int i = 0; i < OUTPUTS; i++)
        PyBuffer_Release(&out[i]);
    return result;
}
