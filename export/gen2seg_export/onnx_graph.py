"""A PyTorch network to one ONNX graph: exported, cleaned, its weights stored as float16 if asked, checked."""

import math
import warnings
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch._dynamo.exc import UserError

from gen2seg_export.errors import ExportError

# The newest opset is not the best one here. 18 opens in every ONNX Runtime we support and in TensorRT and
# OpenVINO; at 21 group normalisation turns into an operator that CPU providers expand again, at 23 attention
# too, and neither was faster on this network.
OPSET = 18

# Below this many elements a tensor (bias, norm scale, constant) stays float32: it weighs nothing in the file
# and its rounding would touch every pixel.
MIN_ROUNDED_ELEMENTS = 1024

# One protobuf message ends at 2 GiB. Larger networks need external data, which this version does not write.
MAX_MODEL_BYTES = 1_900_000_000

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class GraphSpec:
    """How the graph meets the outside.

    `size` None makes height and width free multiples of `stride`; (height, width) fixes them. The batch is
    always free.
    """

    input_name: str = "image"
    output_name: str = "colors"
    stride: int = 32
    size: tuple[int, int] | None = None
    opset: int = OPSET

    def __post_init__(self) -> None:
        if self.size is not None and any(side < 1 or side % self.stride for side in self.size):
            raise ExportError(f"height and width must be positive multiples of {self.stride}, got {self.size}")


def export_graph(module: nn.Module, spec: GraphSpec | None = None) -> onnx.ModelProto:
    """Write the network as an ONNX graph with float32 weights.

    Args:
        module: maps float32 (N, 3, H, W) to float32 (N, 3, H, W); in eval mode, on the CPU.
        spec: names, stride, fixed size or None for free sizes.
    Returns:
        A checked model. No source path, stack trace or doc string of the exporting machine stays in it.
    Raises:
        ExportError: the network is not float32 on the CPU in eval mode, is too large for one file, or cannot
            be traced with the sizes left free.
    """
    spec = spec or GraphSpec()
    _check_module(module)
    height, width = spec.size or (2 * spec.stride, 3 * spec.stride)
    shape: dict[int, object] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if spec.size is None:
        # A multiple is written as stride * symbol; 1024 strides is 32,768 pixels a side.
        shape[2] = spec.stride * torch.export.Dim("rows", min=1, max=1024)
        shape[3] = spec.stride * torch.export.Dim("columns", min=1, max=1024)
    # Two pictures, not one: the tracer takes a batch of one for a constant.
    example = torch.zeros(2, 3, height, width)
    # The dynamo exporter folds shapes and transposed weights; the older tracing one leaves 190 constants and
    # four times the shape arithmetic. torch.export runs apart because it refuses a network that depends on
    # one size, where torch.onnx.export, given the module itself, bakes that size in without a word. It
    # proves sides of two strides and more; sides of a single one are left to the parity probes.
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.export.export(module, (example,), dynamic_shapes=(shape,), strict=False)
            program = torch.onnx.export(
                traced,
                (),
                dynamo=True,
                opset_version=spec.opset,
                input_names=[spec.input_name],
                output_names=[spec.output_name],
                verbose=False,
            )
    except (UserError, torch.onnx.errors.OnnxExporterError) as error:
        raise ExportError(f"the network cannot be written as ONNX: {error}") from error
    if program is None:
        raise ExportError("the ONNX exporter returned no program")
    model = program.model_proto
    _name_sizes(model, spec)
    strip_metadata(model)
    check_graph(model)
    return model


def _check_module(module: nn.Module) -> None:
    if module.training:
        raise ExportError("the network must be in eval mode, got training mode; call module.eval()")
    size = 0
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ExportError(f"{name} must be on the CPU, got {tensor.device}")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"{name} must be float32, got {tensor.dtype}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ExportError(f"{name} holds NaN or infinity")
        size += tensor.numel() * tensor.element_size()
    if size > MAX_MODEL_BYTES:
        raise ExportError(
            f"the network has {size:,} bytes of float32 weights; this version writes one file of at most "
            f"{MAX_MODEL_BYTES:,} bytes (no external data)"
        )


def _name_sizes(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Say batch, height and width at both ends of the graph, in place of the tracer's own symbols."""
    names = ("batch", None, "height", "width") if spec.size is None else ("batch", None, None, None)
    for value in (*model.graph.input, *model.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name:
                dim.dim_param = name


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove what only the exporting machine knows: paths in stack traces, doc strings, inferred shapes."""
    graph = model.graph
    # Inferred shapes are rebuilt by every reader and hold the exporter's own symbol names.
    del graph.value_info[:]
    del model.metadata_props[:]
    del graph.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    graph.name = "gen2seg"
    for item in [*graph.node, *graph.initializer, *graph.input, *graph.output]:
        del item.metadata_props[:]
        item.doc_string = ""


def store_weights_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the large float32 weights as float16; the graph still computes in float32.

    Each rounded weight is followed by one Cast to float32, which ONNX Runtime folds when it opens the
    session: half the file, the same speed and memory as float32 weights.

    Returns:
        A new, checked model.
    Raises:
        ExportError: a weight is too large for float16 (above 65504).
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    casts = []
    for tensor in rounded.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size < MIN_ROUNDED_ELEMENTS:
            continue
        largest = float(np.abs(value).max())
        if largest > FLOAT16_MAX:
            raise ExportError(
                f"weight {tensor.name} reaches {largest:g}; float16 ends at {FLOAT16_MAX:g}. Export it without fp16"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"widen_{name}", to=TensorProto.FLOAT))
    nodes = list(rounded.graph.node)
    del rounded.graph.node[:]
    rounded.graph.node.extend(casts + nodes)
    check_graph(rounded)
    return rounded


def check_graph(model: onnx.ModelProto) -> None:
    """Run ONNX's own checker with full shape inference.

    Raises:
        ExportError: the graph is invalid, or too large for one file.
    """
    size = model.ByteSize()
    if size > MAX_MODEL_BYTES:
        raise ExportError(
            f"the ONNX model has {size:,} bytes; this version writes one file of at most "
            f"{MAX_MODEL_BYTES:,} bytes (no external data)"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses the graph: {error}") from error


def large_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the stored float tensors of at least `MIN_ROUNDED_ELEMENTS` elements, as the graph uses them."""
    large = {
        tensor.name: tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        and math.prod(tensor.dims) >= MIN_ROUNDED_ELEMENTS
    }
    used: dict[str, None] = {}
    for node in model.graph.node:
        stored = [large[name] for name in node.input if name in large]
        if node.op_type == "Cast" and stored:  # a widened weight is used where its Cast's output is
            large[node.output[0]] = stored[0]
        else:
            used.update(dict.fromkeys(stored))
    return list(used)


def rounded_module(module: nn.Module) -> nn.Module:
    """A copy of the network with the rounding of `store_weights_float16` on its own parameters."""
    copy = deepcopy(module)
    with torch.no_grad():
        for parameter in copy.parameters():
            if parameter.numel() >= MIN_ROUNDED_ELEMENTS:
                parameter.copy_(parameter.half())
    return copy


def perturb_weight(model: onnx.ModelProto, name: str, strength: float, seed: int = 0) -> onnx.ModelProto:
    """A copy of the model with noise of `strength` standard deviations added to one stored tensor."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor)
            noise = np.random.default_rng(seed).standard_normal(value.shape) * value.std(dtype=np.float64)
            noisy = (value + strength * noise).astype(value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(noisy, name))
            return changed
    raise ExportError(f"the graph stores no tensor named {name!r}")
