"""The narrow number formats that a graph can be written in."""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx import TensorProto

from gen2seg_export.errors import ExportError

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

# Where only the weights are rounded, those below this many elements (biases, scales, constants) stay float32:
# they weigh nothing in the file and their rounding would touch every pixel.
MIN_ROUNDED_ELEMENTS = 1024


@dataclass(frozen=True)
class Format:
    """One floating-point format.

    Attributes:
        name: as the manifest says it.
        onnx_type: element type in ONNX.
        numpy_type: for rounding weights.
        largest: the largest finite value.
        roundoff: the largest relative error of rounding a value within the range (half a step).
        opset: the first ONNX opset whose convolutions, norms and resizes take it.
    """

    name: str
    onnx_type: int
    numpy_type: np.dtype
    largest: float
    roundoff: float
    opset: int


FORMATS = {
    "fp16": Format("float16", TensorProto.FLOAT16, np.dtype(np.float16), 65504.0, 2.0**-11, 13),
    "bf16": Format(
        "bfloat16",
        TensorProto.BFLOAT16,
        np.dtype(ml_dtypes.bfloat16),
        float(ml_dtypes.finfo("bfloat16").max),
        2.0**-8,
        22,
    ),
}


def get_format(precision: str) -> Format:
    """Look up "fp16" or "bf16".

    Raises:
        ExportError: another name.
    """
    if precision not in FORMATS:
        raise ExportError(f"unknown narrow precision {precision!r}; known: {', '.join(FORMATS)}")
    return FORMATS[precision]
