"""Weights of an IR are found by what takes them, and changed in the bytes that are shipped."""

from pathlib import Path

import numpy as np
import pytest

from gen2seg_export.errors import ExportError
from gen2seg_export.ir_weights import IrWeight, ir_weights, perturb_ir_weight
from gen2seg_export.precision import apply
from gen2seg_export.targets import build

from .toys import Toy, inputs, write_onnx

openvino = pytest.importorskip("openvino")
SHAPE = (1, 3, 16, 16)


def _run(xml: Path, x: np.ndarray) -> np.ndarray:
    return openvino.Core().compile_model(str(xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


@pytest.mark.parametrize(("precision", "element"), [("fp32", "f32"), ("bf16", "bf16")])
def test_a_weight_of_the_ir_is_perturbed(precision: str, element: str, tmp_path: Path):
    graph = write_onnx(Toy(), tmp_path / "toy.onnx", external=True)
    if precision != "fp32":
        graph = apply(graph, tmp_path / "narrow.onnx", precision, inputs(1), threads=1).paths[0]
    xml, binary = build("openvino", graph, tmp_path / "ir", stage="net", shapes=[SHAPE], precision=precision).paths
    weights = ir_weights(xml)
    assert element in {weight.element for weight in weights}
    x = inputs(1, seed=8)[0]
    before, content = _run(xml, x), binary.read_bytes()
    weight = next(weight for weight in weights if weight.element == element)
    perturb_ir_weight(binary, weight, 0.5)
    after = binary.read_bytes()
    end = weight.offset + weight.size
    assert len(after) == len(content)
    assert after[: weight.offset] + after[end:] == content[: weight.offset] + content[end:]
    assert np.abs(_run(xml, x) - before).max() > 0.01 * np.ptp(before)


def test_integers_are_rounded_and_stay_in_range(tmp_path: Path):
    value = np.resize(np.arange(-127, 128, dtype=np.int8), 4096)
    (tmp_path / "net.bin").write_bytes(b"head" + value.tobytes() + b"tail")
    perturb_ir_weight(tmp_path / "net.bin", IrWeight("w", "i8", 4, 4096), 0.5)
    content = (tmp_path / "net.bin").read_bytes()
    assert (content[:4], content[-4:]) == (b"head", b"tail")
    found = np.frombuffer(content[4:-4], np.int8).astype(float)
    inner = np.abs(value) < 40  # far enough from the limits not to be cut
    assert np.std((found - value)[inner]) == pytest.approx(0.5 * value.std(), rel=0.1)
    assert found.max() == 127


def test_what_is_no_ir(tmp_path: Path):
    (tmp_path / "net.xml").write_text("<net")
    with pytest.raises(ExportError, match="cannot be read as OpenVINO IR"):
        ir_weights(tmp_path / "net.xml")
