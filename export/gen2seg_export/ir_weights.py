"""Weights of an OpenVINO IR, found in its XML and changed in its binary file: what is shipped, without the library."""

from collections import defaultdict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from xml.etree import ElementTree

import ml_dtypes
import numpy as np

from gen2seg_export.errors import ExportError
from gen2seg_export.precision.formats import MIN_ROUNDED_ELEMENTS

_TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i8": np.int8, "u8": np.uint8}
_PRODUCTS = frozenset({"Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"})
# What stands between a stored weight and its product: dequantization, widening, other shapes.
_BETWEEN = frozenset(
    {*("Convert", "Multiply", "Subtract", "FakeQuantize", "Reshape", "Transpose", "Unsqueeze", "Squeeze")}
)


@dataclass(frozen=True)
class IrWeight:
    """One stored weight: its name, element type ("i8", "bf16", ...), and bytes `offset` to `offset + size`."""

    name: str
    element: str
    offset: int
    size: int


def ir_weights(xml: Path) -> list[IrWeight]:
    """The weights of at least `MIN_ROUNDED_ELEMENTS` elements that products take, in the order of these products.

    Raises:
        ExportError: the file is no IR.
    """
    try:
        root = ElementTree.parse(xml).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ExportError(f"{xml}: cannot be read as OpenVINO IR: {error}") from error
    layers = {layer.get("id", ""): layer for layer in root.iterfind("layers/layer")}
    makers: defaultdict[str, list[str]] = defaultdict(list)
    for edge in root.iterfind("edges/edge"):
        makers[edge.get("to-layer", "")].append(edge.get("from-layer", ""))
    found: dict[str, IrWeight] = {}
    for name, layer in layers.items():
        if layer.get("type") in _PRODUCTS:
            for weight in filter(None, (_stored(layers, makers, source) for source in makers[name])):
                found.setdefault(weight.name, weight)
    return list(found.values())


def perturb_ir_weight(binary: Path, weight: IrWeight, strength: float, seed: int = 0) -> None:
    """Add noise of `strength` standard deviations to one weight, in place; integers are rounded and stay in range."""
    kind = np.dtype(_TYPES[weight.element])
    with binary.open("r+b") as file:
        file.seek(weight.offset)
        value = np.frombuffer(file.read(weight.size), kind)
        wide = value.astype(np.float32)
        noisy = wide + strength * np.random.default_rng(seed).standard_normal(wide.shape) * wide.std(dtype=np.float64)
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            noisy = np.clip(np.rint(noisy), limits.min, limits.max)
        file.seek(weight.offset)
        file.write(noisy.astype(kind).tobytes())


def _stored(
    layers: dict[str, ElementTree.Element], makers: defaultdict[str, list[str]], source: str
) -> IrWeight | None:
    """The large constant behind an input of a product, if that input is a weight."""
    while layers[source].get("type") in _BETWEEN:
        source = makers[source][0]  # the first input is the value, the others are scales and shapes
    layer = layers[source]
    data = layer.find("data")
    if layer.get("type") != "Const" or data is None or data.get("element_type") not in _TYPES:
        return None
    if prod(int(side) for side in data.get("shape", "0").split(",") if side.strip()) < MIN_ROUNDED_ELEMENTS:
        return None
    return IrWeight(
        layer.get("name", source),
        data.get("element_type", ""),
        int(data.get("offset", "0")),
        int(data.get("size", "0")),
    )
