"""Large weights stored as float16, all arithmetic in float32: half the file, for CPUs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from gen2seg_export.errors import ExportError
from gen2seg_export.precision.formats import FORMATS, MIN_ROUNDED_ELEMENTS
from gen2seg_export.precision.graph import Graph
from gen2seg_export.precision.writer import write_graph


def write_stored_float16(graph: Graph, out: Path) -> tuple[Path, ...]:
    """Write the graph with its large weights as float16 and a Cast behind each, one weight in memory at a time.

    Returns:
        The files written, the ONNX file first.
    Raises:
        ExportError: a weight is too large for float16, or the result is refused.
    """
    large = [t.name for t, _ in graph.weights() if int(np.prod(t.dims)) >= MIN_ROUNDED_ELEMENTS]
    outputs = {value.name for value in graph.model.graph.output}
    chosen = {name for name in large if name not in outputs}

    limit = FORMATS["fp16"].largest

    def convert(tensor: TensorProto, load: Callable[[], np.ndarray]) -> np.ndarray | None:
        if tensor.name not in chosen:
            return None
        value = load()
        largest = float(np.abs(value).max())
        if not largest <= limit:
            raise ExportError(
                f"weight {tensor.name} reaches {largest:g}; float16 ends at {limit:g}. Export it without fp16"
            )
        return value.astype(np.float16)

    casts = [
        helper.make_node("Cast", [f"{name}.float16"], [name], name=f"widen_{name}", to=TensorProto.FLOAT)
        for name in large
        if name in chosen
    ]
    return write_graph(graph, out, [*casts, *graph.nodes], convert, lambda name: f"{name}.float16", opset=0)
