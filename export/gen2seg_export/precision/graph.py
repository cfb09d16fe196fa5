"""What the precision plan asks of an ONNX graph: which tensors are float32, who makes and who takes them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from gen2seg_export.errors import ExportError

# Products with weights: where the arithmetic of a network is spent.
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})

# Operators that move values and compute nothing: they take the format of their neighbours.
LAYOUT = frozenset(
    {
        *("Reshape", "Transpose", "Slice", "Concat", "Split", "Squeeze", "Unsqueeze", "Gather", "Identity"),
        *("Expand", "Flatten", "Tile", "Pad", "DepthToSpace", "SpaceToDepth"),
    }
)

# Float inputs that the ONNX standard fixes to float32 whatever the others are: op -> positions.
ALWAYS_FLOAT32 = {"Resize": (1, 2)}


@dataclass
class Graph:
    """A model without its weights in memory, and who is connected to whom.

    Attributes:
        path: the ONNX file; external weights are read from its folder when they are asked for.
        model: the protobuf; external weights are not loaded.
        floats: names of the float32 tensors, the initializers among them.
        makers: tensor -> the node that makes it.
        takers: tensor -> the nodes that take it.
    """

    path: Path
    model: onnx.ModelProto
    floats: frozenset[str]
    makers: dict[str, NodeProto] = field(default_factory=dict)
    takers: dict[str, list[NodeProto]] = field(default_factory=dict)

    @property
    def nodes(self) -> list[NodeProto]:
        """In topological order, as ONNX demands; each with a name of its own."""
        return list(self.model.graph.node)

    def float_inputs(self, node: NodeProto) -> list[str]:
        """The float32 tensors that this node takes and that may change their format, in order, each once."""
        fixed = ALWAYS_FLOAT32.get(node.op_type, ())
        names = [name for i, name in enumerate(node.input) if name in self.floats and i not in fixed]
        return list(dict.fromkeys(names))

    def float_outputs(self, node: NodeProto) -> list[str]:
        return [name for name in node.output if name in self.floats]

    def weights(self) -> Iterator[tuple[TensorProto, bool]]:
        """Each float32 initializer (external data not loaded) and whether its data lies outside the file."""
        for tensor in self.model.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                yield tensor, uses_external_data(tensor)

    def value(self, tensor: TensorProto) -> np.ndarray:
        """The content of an initializer, read from the external file if it lies there."""
        return read_tensor(tensor, self.path.parent)


def open_graph(path: Path) -> Graph:
    """Read an ONNX file without its external weights.

    Raises:
        ExportError: not a readable ONNX file, or its graph has branches or loops, which a one-step
            network does not have and the plan does not follow.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        _name_nodes(model)
        _lift_constants(model)
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf, OS and onnx errors share no base class
        raise ExportError(f"{path}: cannot be read as an ONNX graph: {error}") from error
    if any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute):
        raise ExportError(f"{path}: the graph has branches or loops; a precision plan needs a plain chain of nodes")
    graph = inferred.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    untyped = {name for node in model.graph.node for name in node.output if name} - {value.name for value in values}
    if untyped:
        raise ExportError(f"{path}: ONNX cannot infer the type of {sorted(untyped)[:3]}")
    result = Graph(path, model, frozenset(floats))
    for node in model.graph.node:
        result.makers.update(dict.fromkeys(node.output, node))
        for name in dict.fromkeys(node.input):
            result.takers.setdefault(name, []).append(node)
    return result


def read_tensor(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The content of a tensor; external data come from `folder`."""
    if uses_external_data(tensor):
        copy = TensorProto()
        copy.CopyFrom(tensor)
        load_external_data_for_tensor(copy, str(folder))
        tensor = copy
    return numpy_helper.to_array(tensor)


def ends(graph: Graph) -> set[str]:
    """Names of the nodes up to the first products behind the input and from the last products to the output.

    The picture and the raw colours pass through them: an error made there is seen in every pixel.
    """
    inputs = [value.name for value in graph.model.graph.input if value.name in graph.floats]
    outputs = [value.name for value in graph.model.graph.output if value.name in graph.floats]
    found: set[str] = set()
    waiting = list(inputs)
    while waiting:
        for node in graph.takers.get(waiting.pop(), []):
            if node.name not in found and graph.float_outputs(node):
                found.add(node.name)
                if node.op_type not in PRODUCTS:
                    waiting += graph.float_outputs(node)
    seen: set[str] = set()
    waiting = list(outputs)
    while waiting:
        node = graph.makers.get(waiting.pop())
        if node is not None and node.name not in seen:
            seen.add(node.name)
            if node.op_type not in PRODUCTS:
                waiting += graph.float_inputs(node)
    return found | seen


def _name_nodes(model: onnx.ModelProto) -> None:
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{number}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def _lift_constants(model: onnx.ModelProto) -> None:
    """Turn Constant nodes into initializers, so that a format can be given to their values."""
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_node_attr_value(node, node.attribute[0].name)
            if not isinstance(value, TensorProto):
                kind = np.int64 if node.attribute[0].name in ("value_int", "value_ints") else np.float32
                value = numpy_helper.from_array(np.asarray(value, kind))
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
