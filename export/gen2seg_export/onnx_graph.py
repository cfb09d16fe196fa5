"""A stage's PyTorch network to an ONNX file: exported, cleaned, checked, its weights beside it where they are large.

Weights are written one after the other and never held twice, so that a stage may be larger than one protobuf
message (2 GiB) and than half the memory.
"""

import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from torch import nn
from torch._dynamo.exc import UserError

from gen2seg_export.errors import ExportError
from gen2seg_export.external_data import data_name
from gen2seg_export.precision.formats import MIN_ROUNDED_ELEMENTS

# The newest opset is not the best one here. 18 opens in every ONNX Runtime we support and in TensorRT and
# OpenVINO; at 21 group normalisation turns into an operator that CPU providers expand again, at 23 attention
# too, and neither was faster on this network.
OPSET = 18

# Weights of more than this many bytes go into a file of their own beside the graph, where they can be mapped.
EXTERNAL_ABOVE = 64 << 20

# Sides that a tracer sees must be larger than one at the coarsest level: it takes a side of 1 for a constant.
_LEAST_EXAMPLE = 16

_WAY_OUT = " for any multiple of {stride} (choose one size, or sizes whose sides have a larger common divisor)"


@dataclass(frozen=True)
class GraphSpec:
    """How the graph meets the outside.

    `size` None makes height and width free multiples of `stride`; (height, width) fixes them. The batch is
    always free. `least`: no free side will be shorter than this many strides.
    """

    input_name: str = "image"
    output_name: str = "colors"
    channels: int = 3
    stride: int = 32
    size: tuple[int, int] | None = None
    opset: int = OPSET
    least: int = 1

    def __post_init__(self) -> None:
        if self.size is not None and any(side < 1 or side % self.stride for side in self.size):
            raise ExportError(f"height and width must be positive multiples of {self.stride}, got {self.size}")


def export_graph(module: nn.Module, spec: GraphSpec | None = None) -> onnx.ModelProto:
    """A small network as an ONNX graph in memory; see `write_graph`."""
    with tempfile.TemporaryDirectory(prefix="gen2seg-graph-") as folder:
        path = Path(folder) / "model.onnx"
        write_graph(module, spec or GraphSpec(), path)
        return onnx.load(path)


def write_graph(module: nn.Module, spec: GraphSpec, path: Path) -> None:
    """Write the network as an ONNX file with float32 weights, and `data_name(path)` if they are large.

    Args:
        module: maps one float32 (N, C, H, W) to one such tensor; in eval mode, on the CPU.
        spec: names, stride, fixed size or None for free sizes.
        path: the file; its folder must exist. No source path, stack trace or doc string of the exporting machine
            goes into it.
    Raises:
        ExportError: the network is not float32 on the CPU in eval mode, cannot be traced (with the sizes left
            free), or is refused by the checker.
    """
    _check_module(module)
    program = _trace(module, spec)
    program.save(path, external_data=True)
    del program
    model = onnx.load(path, load_external_data=False)
    data = path.with_name(data_name(path))
    if data.is_file() and data.stat().st_size <= EXTERNAL_ABOVE:
        for tensor in model.graph.initializer:
            _take_in(tensor, path.parent)
        data.unlink()
    _name_sizes(model, spec)
    strip_metadata(model)
    save_graph(model, path)
    check_graph(path)


def _trace(module: nn.Module, spec: GraphSpec) -> torch.onnx.ONNXProgram:
    shape: dict[int, object] = {0: torch.export.Dim("batch", min=1, max=1024)}
    height, width = spec.size or (0, 0)
    if spec.size is None:
        # A multiple is written as stride * symbol; 1024 strides are 8,192 pixels a side and more.
        shape[2] = spec.stride * torch.export.Dim("rows", min=spec.least, max=1024)
        shape[3] = spec.stride * torch.export.Dim("columns", min=spec.least, max=1024)
        cells = max(2, spec.least, math.ceil(_LEAST_EXAMPLE / spec.stride))
        height, width = cells * spec.stride, (cells + 1) * spec.stride
    # Two pictures, not one: the tracer takes a batch of one for a constant.
    example = torch.zeros(2, spec.channels, height, width)
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
        way_out = "" if spec.size is not None else _WAY_OUT.format(stride=spec.stride)
        raise ExportError(f"the network cannot be written as ONNX{way_out}: {error}") from error
    if program is None:
        raise ExportError("the ONNX exporter returned no program")
    return program


def _check_module(module: nn.Module) -> None:
    if module.training:
        raise ExportError("the network must be in eval mode, got training mode; call module.eval()")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ExportError(f"{name} must be on the CPU, got {tensor.device}")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ExportError(f"{name} must be float32, got {tensor.dtype}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ExportError(f"{name} holds NaN or infinity")


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


def save_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph (without the external weights that it names) always in the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_graph(path: Path) -> None:
    """Run ONNX's own checker with full shape inference on a file, however large its external weights are.

    Raises:
        ExportError: the graph is invalid.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses {path.name}: {error}") from error


def _take_in(tensor: TensorProto, folder: Path) -> None:
    """Move a weight from its external file, if it has one, into the graph.

    Not by ONNX's own loader: that refuses files with a second name, which those of the work folder have.
    """
    if uses_external_data(tensor):
        where = ExternalDataInfo(tensor)
        with (folder / where.location).open("rb") as file:
            file.seek(where.offset or 0)
            tensor.raw_data = file.read(where.length if where.length is not None else -1)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def large_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the stored float tensors of at least `MIN_ROUNDED_ELEMENTS` elements, as the graph uses them."""
    large = {
        tensor.name: tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
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


def perturb_weight(model: onnx.ModelProto, name: str, strength: float, folder: Path, seed: int = 0) -> None:
    """Add noise of `strength` standard deviations to one stored tensor of the graph, in place.

    The tensor then lies in the graph itself; the external files in `folder`, where it may have been, stay as
    they are.

    Raises:
        ExportError: no such tensor.
    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            _take_in(tensor, folder)
            value = numpy_helper.to_array(tensor)
            wide = value.astype(np.float32)
            noise = np.random.default_rng(seed).standard_normal(value.shape) * wide.std(dtype=np.float64)
            noisy = (wide + strength * noise).astype(value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(noisy, name))
            return
    raise ExportError(f"the graph stores no tensor named {name!r}")
