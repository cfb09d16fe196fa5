"""Write a graph whose weights change their format one by one: never two weights in memory at once."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from gen2seg_export.errors import ExportError
from gen2seg_export.external_data import data_name
from gen2seg_export.precision.graph import Graph
from gen2seg_runtime.files import atomic_write

# Small tensors stay in the graph's own file, where shape inference sees them.
MIN_EXTERNAL_BYTES = 1024
_ALIGNMENT = 4096  # of each weight in the data file, so that it can be mapped

# initializer (its float32 value on request) -> the array to store, or None to leave it as it is
Convert = Callable[[TensorProto, Callable[[], np.ndarray]], np.ndarray | None]


def write_graph(
    graph: Graph, out: Path, nodes: Iterable[NodeProto], convert: Convert, rename: Callable[[str], str], opset: int
) -> tuple[Path, ...]:
    """Write the graph with other nodes, its float32 initializers converted on the way.

    Weights that lay in an external file before lie in one again, named `data_name(out)`.

    Args:
        graph: where the weights come from.
        out: the ONNX file; its folder must exist.
        nodes: all nodes of the new graph, in topological order.
        convert: see `Convert`.
        rename: initializer that was converted -> its new name.
        opset: raised to this if it is lower.
    Returns:
        The files written, the ONNX file first.
    Raises:
        ExportError: the checker of ONNX refuses what was written.
        OutputError: a file cannot be written.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    _raise_opset(model, opset, graph.path)
    external = any(is_external for _, is_external in graph.weights())
    beside = out.with_name(data_name(out))
    if external:
        with atomic_write(beside) as data:
            for tensor in model.graph.initializer:
                _store(tensor, graph, convert, rename)
                if len(tensor.raw_data) >= MIN_EXTERNAL_BYTES:
                    data.write(b"\0" * (-data.tell() % _ALIGNMENT))
                    start, size = data.tell(), len(tensor.raw_data)
                    data.write(tensor.raw_data)
                    _point_outside(tensor, beside.name, start, size)
    else:
        for tensor in model.graph.initializer:
            _store(tensor, graph, convert, rename)
    files = (out, beside) if external else (out,)
    with atomic_write(out) as file:
        file.write(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(os.fspath(out), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        for path in files:
            path.unlink(missing_ok=True)
        raise ExportError(f"{out}: the ONNX checker refuses the converted graph: {error}") from error
    return files


def _store(tensor: TensorProto, graph: Graph, convert: Convert, rename: Callable[[str], str]) -> None:
    new = convert(tensor, lambda: graph.value(tensor)) if tensor.data_type == TensorProto.FLOAT else None
    name = tensor.name if new is None else rename(tensor.name)
    array = graph.value(tensor) if new is None else new
    element = tensor.data_type if new is None else helper.np_dtype_to_tensor_dtype(new.dtype)
    dims = list(tensor.dims)
    tensor.Clear()
    tensor.name, tensor.data_type = name, element
    tensor.dims.extend(dims)
    tensor.raw_data = np.ascontiguousarray(array).tobytes()


def _point_outside(tensor: TensorProto, file: str, start: int, size: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", start), ("length", size)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def _raise_opset(model: onnx.ModelProto, opset: int, path: Path) -> None:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version < opset:
            # The one operator of such graphs whose meaning changed on the way (scale per channel, not per group).
            if entry.version < 21 <= opset and any(node.op_type == "GroupNormalization" for node in model.graph.node):
                raise ExportError(f"{path}: GroupNormalization of opset {entry.version} has no form in opset {opset}")
            entry.version = opset
            model.ir_version = max(model.ir_version, 10)
