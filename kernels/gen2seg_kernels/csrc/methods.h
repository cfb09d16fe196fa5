/* The Python functions of each part, for the module's table. */
#ifndef GEN2SEG_METHODS_H
#define GEN2SEG_METHODS_H

#include <Python.h>

PyObject *g2s_py_boundary_match(PyObject *module, PyObject *args);
PyObject *g2s_py_instance_leaves(PyObject *module, PyObject *args);
PyObject *g2s_py_instance_tree(PyObject *module, PyObject *args);
PyObject *g2s_py_loss_image(PyObject *module, PyObject *args);
PyObject *g2s_py_prompt_prepare(PyObject *module, PyObject *args);
PyObject *g2s_py_prompt_reference(PyObject *module, PyObject *args);
PyObject *g2s_py_prompt_metric(PyObject *module, PyObject *args);
PyObject *g2s_py_use_isa(PyObject *module, PyObject *args);
PyObject *g2s_py_filter_weights(PyObject *module, PyObject *args);
PyObject *g2s_py_picture_to_planes(PyObject *module, PyObject *args);
PyObject *g2s_py_planes_to_colors(PyObject *module, PyObject *args);

#define G2S_PROMPT_METHODS                                                    \
    {"prompt_prepare", g2s_py_prompt_prepare, METH_VARARGS, NULL},            \
    {"prompt_reference", g2s_py_prompt_reference, METH_VARARGS, NULL},        \
    {"prompt_metric", g2s_py_prompt_metric, METH_VARARGS, NULL},              \
    {"use_isa", g2s_py_use_isa, METH_VARARGS, NULL},                          \
    {"filter_weights", g2s_py_filter_weights, METH_NOARGS, NULL},

#define G2S_BOUNDARY_METHODS {"boundary_match", g2s_py_boundary_match, METH_VARARGS, NULL},

#define G2S_INSTANCE_METHODS                                      \
    {"instance_leaves", g2s_py_instance_leaves, METH_VARARGS, NULL}, \
    {"instance_tree", g2s_py_instance_tree, METH_VARARGS, NULL},

#define G2S_LOSS_METHODS {"loss_image", g2s_py_loss_image, METH_VARARGS, NULL},

#define G2S_PIXEL_METHODS                                                 \
    {"picture_to_planes", g2s_py_picture_to_planes, METH_VARARGS, NULL}, \
    {"planes_to_colors", g2s_py_planes_to_colors, METH_VARARGS, NULL},

#endif
