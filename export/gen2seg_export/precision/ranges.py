"""What the tensors of a graph reach on real inputs, and what each node loses in a narrow format.

The float32 graph is run once a sample in ONNX Runtime, with probes written into it: for each node its
largest input and output, and the same node once more on rounded inputs. Every probe ends in one number
inside the graph, so that no intermediate tensor leaves it and the memory stays near that of a plain run.
"""

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from gen2seg_export.errors import ExportError
from gen2seg_export.precision.formats import Format
from gen2seg_export.precision.graph import Graph

_PROBE = "gen2seg_probe"
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class NodeRange:
    """What one node was seen to do on the calibration inputs.

    Attributes:
        largest_input, largest_output: largest absolute value.
        error: root mean square of (this node on rounded inputs, its output rounded) minus (this node), over
            the root mean square of its output; the worst sample; infinite where rounding overflows.
    """

    largest_input: float
    largest_output: float
    error: float


def measure_ranges(
    graph: Graph,
    samples: Sequence[np.ndarray],
    narrow: Format,
    *,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, NodeRange]:
    """Run the graph on each sample with probes in it.

    Args:
        graph: float32.
        samples: inputs (N, C, H, W) float32 of the graph's one input.
        narrow: the format to judge.
        threads: of ONNX Runtime; None: its own choice.
    Returns:
        Node name -> what it was seen to do, for every node that makes or takes float32 values.
    Raises:
        ExportError: no sample, a graph with several inputs, or the float32 network itself gives NaN or
            infinity somewhere.
    """
    if not samples:
        raise ExportError("a precision plan needs at least one calibration input, got none")
    inputs = [value.name for value in graph.model.graph.input]
    if len(inputs) != 1:
        raise ExportError(f"{graph.path}: one input was expected, the graph has {inputs}")
    model, probes = _with_probes(graph, narrow)
    session = open_session(model, graph.path.parent, threads)
    names = list(probes)
    worst = dict.fromkeys(names, 0.0)
    nodes = [node for node in graph.nodes if graph.float_outputs(node)]
    errors = dict.fromkeys((node.name for node in nodes), 0.0)
    for number, sample in enumerate(samples, 1):
        if progress is not None:
            progress(f"calibration input {number} of {len(samples)}")
        found = dict(zip(names, (float(v) for v in session.run(names, {inputs[0]: sample})), strict=True))
        for name, value in found.items():
            worst[name] = max(worst[name], value) if np.isfinite(value) else value
        for node in nodes:
            errors[node.name] = max(errors[node.name], _relative_error(node, graph, found))
    del session
    gc.collect()
    return _collect(graph, nodes, worst, errors)


def open_session(model: onnx.ModelProto, folder: Path, threads: int | None = None) -> Any:
    """An ONNX Runtime session of a model in memory whose external weights lie in `folder`; nothing is fused."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = _ERRORS_ONLY
    # Fusions would merge a node with its rounded twin, or drop a pair of casts.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # In the order of the file: by default the probes would run last, with every tensor kept for them.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class
        raise ExportError(f"ONNX Runtime refuses the graph in {folder}: {error}") from error


def _with_probes(graph: Graph, narrow: Format) -> tuple[onnx.ModelProto, Mapping[str, str]]:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    writer = _Writer(narrow)
    for name in [value.name for value in model.graph.input if value.name in graph.floats]:
        writer.largest(name)
    for tensor, _ in graph.weights():
        writer.largest(tensor.name)
    for node in graph.nodes:
        writer.nodes.append(node)
        outputs = graph.float_outputs(node)
        for name in outputs:
            writer.largest(name)
        if outputs and graph.float_inputs(node):
            writer.twin(node, graph.float_inputs(node), outputs)
    # Initializers and inputs may be probed first: their probes need no node before them.
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in writer.probes)
    return model, writer.probes


class _Writer:
    """Collects the nodes of the probed graph."""

    def __init__(self, narrow: Format) -> None:
        self.nodes: list[NodeProto] = []
        self.probes: dict[str, str] = {}
        self._narrow = narrow
        self._rounded: dict[str, str] = {}

    def largest(self, name: str) -> None:
        self._add("Abs", [name], f"{name}/{_PROBE}/abs")
        self._end("ReduceMax", f"{name}/{_PROBE}/abs", _largest(name))

    def twin(self, node: NodeProto, inputs: Iterable[str], outputs: Sequence[str]) -> None:
        """The same node on rounded inputs, and the squared differences of its outputs."""
        rounded = {name: self._round(name) for name in inputs}
        twin = NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{node.name}/{_PROBE}"
        for i, name in enumerate(node.input):
            twin.input[i] = rounded.get(name, name)
        for i, name in enumerate(node.output):
            twin.output[i] = f"{name}/{_PROBE}/twin" if name else ""
        self.nodes.append(twin)
        for name in outputs:
            again = self._round(f"{name}/{_PROBE}/twin")
            self._add("Sub", [name, again], f"{name}/{_PROBE}/difference")
            self._end("ReduceSumSquare", f"{name}/{_PROBE}/difference", _noise(name))
            self._end("ReduceSumSquare", name, _signal(name))

    def _round(self, name: str) -> str:
        if name not in self._rounded:
            self._add("Cast", [name], f"{name}/{_PROBE}/narrow", to=self._narrow.onnx_type)
            self._add("Cast", [f"{name}/{_PROBE}/narrow"], f"{name}/{_PROBE}/rounded", to=TensorProto.FLOAT)
            self._rounded[name] = f"{name}/{_PROBE}/rounded"
        return self._rounded[name]

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))

    def _end(self, op: str, tensor: str, output: str) -> None:
        self._add(op, [tensor], output, keepdims=0)
        self.probes[output] = tensor


def _largest(name: str) -> str:
    return f"{name}/{_PROBE}/largest"


def _noise(name: str) -> str:
    return f"{name}/{_PROBE}/noise"


def _signal(name: str) -> str:
    return f"{name}/{_PROBE}/signal"


def _relative_error(node: NodeProto, graph: Graph, found: Mapping[str, float]) -> float:
    worst = 0.0
    for name in graph.float_outputs(node):
        noise, signal = found.get(_noise(name), 0.0), found.get(_signal(name), 0.0)
        if not np.isfinite(noise):
            return float("inf")
        if signal > 0:
            worst = max(worst, float(np.sqrt(noise / signal)))
        elif noise > 0:
            return float("inf")
    return worst


def _collect(
    graph: Graph, nodes: Sequence[NodeProto], worst: Mapping[str, float], errors: Mapping[str, float]
) -> dict[str, NodeRange]:
    ranges = {}
    for node in nodes:
        taken = [worst[_largest(name)] for name in graph.float_inputs(node)]
        made = [worst[_largest(name)] for name in graph.float_outputs(node)]
        if not all(np.isfinite([*taken, *made])):
            raise ExportError(f"{graph.path}: {node.op_type} {node.name} gives NaN or infinity in float32 already")
        ranges[node.name] = NodeRange(max(taken, default=0.0), max(made, default=0.0), errors[node.name])
    return ranges
