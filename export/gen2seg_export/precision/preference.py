"""Which backend runs a stage best on a CPU, by precision: data, from the measurements in docs/precision.md."""

from gen2seg_export.errors import ExportError

# precision -> backends, the best one first. A bundle lists those it has files for; the runtime takes the first
# one whose library is there. bfloat16 and int8 graphs have no other way on a CPU than OpenVINO.
CPU_PREFERENCE: dict[str, tuple[str, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "fp16": ("onnxruntime", "openvino"),
    "bf16": ("openvino",),
    "int8": ("openvino", "onnxruntime"),
}


def preferred_backend(precision: str, targets: tuple[str, ...] = ("onnx", "openvino")) -> str:
    """The backend that a CPU should run a stage with.

    Args:
        precision: "fp32", "fp16", "bf16" or "int8".
        targets: what the bundle holds: "onnx" stands for what ONNX Runtime and OpenVINO both read.
    Raises:
        ExportError: an unknown precision, or int8 without the target that carries it.
    """
    if precision not in CPU_PREFERENCE:
        raise ExportError(f"precision must be one of {', '.join(CPU_PREFERENCE)}, got {precision!r}")
    if precision == "int8" and "openvino" not in targets:
        raise ExportError("int8 needs the target openvino: its quantized network is OpenVINO IR")
    return CPU_PREFERENCE[precision][0]
