"""A plan written into the graph: strongly typed ONNX, each node in its own format, a Cast at each border.

TensorRT 11 and TensorRT-RTX take the formats from the graph and nothing else; ONNX Runtime runs the float16
form on a CPU too. `onnxruntime.transformers.float16` was tried first: it knows no bfloat16, wants all weights
in memory three times and puts casts around each wide node, so that two wide neighbours talk through float16.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper

from gen2seg_export.errors import ExportError
from gen2seg_export.precision.graph import ALWAYS_FLOAT32, Graph
from gen2seg_export.precision.plan import PrecisionPlan
from gen2seg_export.precision.writer import write_graph


def write_typed(graph: Graph, plan: PrecisionPlan, out: Path) -> tuple[Path, ...]:
    """Write the graph with every node outside `plan.wide` in the plan's format; ends stay float32.

    Returns:
        The files written, the ONNX file first.
    Raises:
        ExportError: a weight of a narrow node leaves the format's range, or the result is refused.
    """
    typist = _Typist(graph, plan)
    for node in graph.nodes:
        typist.add(node)
    typist.restore_outputs()
    opset = plan.format.opset
    return write_graph(graph, out, typist.nodes, typist.convert, lambda name: typist.narrow_name(name), opset)


class _Typist:
    """Copies the nodes in order and casts what crosses a border, each tensor once."""

    def __init__(self, graph: Graph, plan: PrecisionPlan) -> None:
        self._graph, self._plan = graph, plan
        self.nodes: list[NodeProto] = []
        self._outputs = [value.name for value in graph.model.graph.output if value.name in graph.floats]
        self._narrow: set[str] = set()  # tensors made narrow, by their new names
        self._cast: dict[tuple[str, bool], str] = {}
        self._weights = {tensor.name for tensor, _ in graph.weights()}
        self._narrow_weights = {name for name in self._weights if self._only_narrow_takers(name)}
        self._narrow |= {self.narrow_name(name) for name in self._narrow_weights}

    def narrow_name(self, name: str) -> str:
        return f"{name}/{self._plan.format.name}"

    def add(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        narrow = self._is_narrow(node)
        fixed = ALWAYS_FLOAT32.get(node.op_type, ())
        shape_only = node.op_type in ("Shape", "Size")
        for i, name in enumerate(node.input):
            if name in self._graph.floats:
                copy.input[i] = self._home(name) if shape_only else self._as(name, narrow and i not in fixed)
        for i, name in enumerate(node.output):
            if narrow and name in self._graph.floats:
                copy.output[i] = self.narrow_name(name)
                self._narrow.add(copy.output[i])
        self.nodes.append(copy)

    def restore_outputs(self) -> None:
        """The graph's own outputs keep their names and float32."""
        for name in self._outputs:
            if self.narrow_name(name) in self._narrow:
                self._append_cast(self.narrow_name(name), name, TensorProto.FLOAT)

    def convert(self, tensor: TensorProto, load: Callable[[], np.ndarray]) -> np.ndarray | None:
        if tensor.name not in self._narrow_weights:
            return None
        value = load()
        largest = float(np.abs(value).max(initial=0.0))
        if not largest <= self._plan.format.largest:
            raise ExportError(
                f"weight {tensor.name} reaches {largest:g}, {self._plan.format.name} ends at "
                f"{self._plan.format.largest:g}, and the plan keeps its node narrow"
            )
        return value.astype(self._plan.format.numpy_type)

    def _is_narrow(self, node: NodeProto) -> bool:
        return node.name not in self._plan.wide and bool(self._graph.float_outputs(node))

    def _only_narrow_takers(self, name: str) -> bool:
        takers = self._graph.takers.get(name, [])
        fixed = any(
            name == taker.input[i]
            for taker in takers
            for i in ALWAYS_FLOAT32.get(taker.op_type, ())
            if i < len(taker.input)
        )
        return bool(takers) and not fixed and name not in self._outputs and all(self._is_narrow(t) for t in takers)

    def _home(self, name: str) -> str:
        return self.narrow_name(name) if self.narrow_name(name) in self._narrow else name

    def _as(self, name: str, narrow: bool) -> str:
        """The name of the tensor in the format asked for; a Cast is added where there is none yet."""
        home = self._home(name)
        if (home in self._narrow) == narrow:
            return home
        if (name, narrow) not in self._cast:
            target = f"{name}/{self._plan.format.name}" if narrow else f"{name}/float32"
            self._append_cast(home, target, self._plan.format.onnx_type if narrow else TensorProto.FLOAT)
            self._cast[name, narrow] = target
        return self._cast[name, narrow]

    def _append_cast(self, source: str, target: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"cast {target}", to=to))
