"""Plans measured on calibration inputs, and the graphs written by them."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from gen2seg_export.errors import ExportError
from gen2seg_export.precision import apply
from gen2seg_export.precision.formats import FORMATS, get_format
from gen2seg_export.precision.graph import open_graph
from gen2seg_export.precision.plan import NORMS, SOFTMAX, make_plan
from gen2seg_export.precision.ranges import measure_ranges
from gen2seg_export.precision.typed import write_typed
from gen2seg_export.targets.stopwatch import psnr

from .toys import Cancelling, Loud, Toy, inputs, run_onnx, write_onnx

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(Toy(), tmp_path_factory.mktemp("toy") / "toy.onnx", external=True)


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(Loud(), tmp_path_factory.mktemp("loud") / "loud.onnx")


def tensor_types(path: Path) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model without its weights, and the element type of every tensor in it, by ONNX's strict inference."""
    model = onnx.load(path, load_external_data=False)
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return model, types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def run_strictly(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Each node in its own format, as on a GPU; ONNX Runtime on a CPU goes on in float32 between such nodes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(next(iter(ReferenceEvaluator(model).run(["colors"], {"image": x}))))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_tensor_has_the_type_that_the_plan_says(toy: Path, tmp_path: Path, precision: str):
    report = apply(toy, tmp_path / "out.onnx", precision, inputs(2), threads=1)
    model, types = tensor_types(report.paths[0])
    narrow = FORMATS[precision].onnx_type
    assert [types[v.name] for v in (*model.graph.input, *model.graph.output)] == [TensorProto.FLOAT] * 2
    seen = {"narrow": 0, "wide": 0}
    for node in model.graph.node:
        if node.op_type in ("Cast", "Shape"):
            continue
        fixed = (1, 2) if node.op_type == "Resize" else ()
        found = {types[n] for i, n in enumerate(node.input) if n and types[n] in FLOATS and i not in fixed}
        found |= {types[n] for n in node.output if types[n] in FLOATS}
        if not found:
            continue
        wide = node.name in report.wide_nodes
        assert found == {TensorProto.FLOAT if wide else narrow}, node.name
        assert wide or node.op_type not in NORMS | SOFTMAX
        seen["wide" if wide else "narrow"] += 1
    assert seen["narrow"] > seen["wide"] > 5
    assert report.plan is not None
    reasons = {node.op: node.reason for node in report.plan.wide.values()}
    assert reasons["Softmax"] == "softmax"
    assert reasons["LayerNormalization"] == "norm"
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert set(report.plan.names("end")) & set(convolutions) == {convolutions[0], convolutions[-1]}


def test_float16_graph_gives_nearly_the_same_colours(toy: Path, tmp_path: Path):
    x = inputs(1, seed=9)[0]
    report = apply(toy, tmp_path / "out.onnx", "fp16", inputs(1), threads=1)
    expected = run_onnx(toy, x)
    assert expected.std() > 10
    assert psnr(expected, run_onnx(report.paths[0], x)) > 65
    assert (report.weights, report.compute) == ("float16", "float16")
    spec = report.spec()
    assert spec.wide_nodes == report.wide_nodes
    assert spec.plan["format"] == "float16"


def test_bfloat16_graph_runs_in_openvino_with_its_wide_nodes(toy: Path, tmp_path: Path):
    openvino = pytest.importorskip("openvino")
    x = inputs(1, seed=9)[0]
    report = apply(toy, tmp_path / "out.onnx", "bf16", inputs(1), threads=1)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    got = openvino.Core().compile_model(str(report.paths[0]), "CPU", config)([x])[0]
    expected = run_onnx(toy, x)
    assert 40 < psnr(expected, got) < 90  # more would mean that nothing was rounded


def test_values_beyond_float16_stay_wide_and_finite(loud: Path, tmp_path: Path):
    x = inputs(1, seed=3)[0]
    report = apply(loud, tmp_path / "out.onnx", "fp16", inputs(2), threads=1)
    assert report.plan is not None
    kept = {node.op for node in report.plan.wide.values() if node.reason == "range"}
    assert {"Mul", "Abs"} <= kept
    got = run_strictly(onnx.load(report.paths[0]), x)
    assert np.isfinite(got).all()
    assert psnr(run_onnx(loud, x), got) > 55
    # without these nodes in the plan the same network does overflow
    careless = replace(report.plan, wide={n.name: n for n in report.plan.wide.values() if n.reason == "end"})
    write_typed(open_graph(loud), careless, tmp_path / "careless.onnx")
    assert not np.isfinite(run_strictly(onnx.load(tmp_path / "careless.onnx"), x)).all()


def test_bfloat16_needs_no_room_for_the_same_values(loud: Path):
    graph = open_graph(loud)
    narrow = get_format("bf16")
    assert not make_plan(graph, measure_ranges(graph, inputs(1), narrow, threads=1), narrow).names("range")


def test_cancellation_keeps_the_node_and_what_feeds_it_wide(tmp_path: Path):
    path = write_onnx(Cancelling(), tmp_path / "net.onnx")
    report = apply(path, tmp_path / "out.onnx", "fp16", inputs(1), threads=1)
    assert report.plan is not None
    assert {report.plan.wide[name].op for name in report.plan.names("accuracy")} >= {"Sub", "Relu"}
    x = inputs(1, seed=4)[0]
    assert psnr(run_onnx(path, x), run_onnx(report.paths[0], x)) > 55
    figures = report.plan.to_json()["measured"]
    assert {entry["reason"] for entry in figures} == {"accuracy"}
    assert max(entry["error"] for entry in figures) > 16 * FORMATS["fp16"].roundoff


def test_ranges_are_those_of_the_tensors(tmp_path: Path):
    weight = np.array([[2.0, -300.0]], np.float32)
    path = _save(
        tmp_path,
        [
            helper.make_node("Mul", ["x", "w"], ["scaled"], name="scale"),
            helper.make_node("Neg", ["scaled"], ["y"], name="negate"),
        ],
        [numpy_helper.from_array(weight, "w")],
    )
    graph = open_graph(path)
    samples = [np.array([[1.0, 0.5]], np.float32), np.array([[-4.0, 0.1]], np.float32)]
    ranges = measure_ranges(graph, samples, get_format("fp16"), threads=1)
    assert ranges["scale"].largest_input == 300.0
    assert ranges["scale"].largest_output == 150.0
    assert ranges["negate"].largest_input == 150.0
    # 0.1 is no float16; everything else is exact
    rounded = np.array([-8.0, np.float32(np.float16(0.1)) * np.float32(-300)], np.float32).astype(np.float16)
    plain = samples[1][0] * weight[0]
    expected = np.linalg.norm(rounded.astype(np.float64) - plain) / np.linalg.norm(plain)
    assert ranges["scale"].error == pytest.approx(expected, rel=1e-3)


def test_probes_do_not_keep_the_tensors(tmp_path: Path):
    """A chain of 30 tensors of 16 MB: kept for probes that run last, they took 500 MB beyond the process itself."""
    side, names = 2000, ["x", *(f"t{i}" for i in range(29)), "y"]
    nodes = [helper.make_node("Sigmoid", [a], [b]) for a, b in pairwise(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "chain.onnx")
    code = f"""
import numpy, pathlib
from gen2seg_export.precision import graph, formats, ranges
found = lambda: int(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
chain, narrow = graph.open_graph(pathlib.Path({str(tmp_path / "chain.onnx")!r})), formats.get_format("fp16")
sample, before = numpy.ones(({side}, {side}), numpy.float32), found()
ranges.measure_ranges(chain, [sample], narrow, threads=1)
print((found() - before) // 1024)
"""
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not tell a process its peak memory")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250  # MB


def test_stored_form_rounds_the_weights_and_computes_in_float32(toy: Path, tmp_path: Path):
    report = apply(toy, tmp_path / "out.onnx", "fp16", form="stored")
    assert (report.weights, report.compute, report.plan) == ("float16", "float32", None)
    model, types = tensor_types(report.paths[0])
    casts = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    wide = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and np.prod(t.dims) >= 1024]
    assert casts
    assert not wide
    assert all(types[n] == TensorProto.FLOAT for node in model.graph.node for n in node.output if types[n] in FLOATS)
    x = inputs(1)[0]
    assert psnr(run_onnx(toy, x), run_onnx(report.paths[0], x)) > 80


@pytest.mark.parametrize(("precision", "bytes_each"), [("fp32", 4), ("fp16", 2), ("bf16", 2)])
def test_external_weights_stay_external(toy: Path, tmp_path: Path, precision: str, bytes_each: int):
    report = apply(toy, tmp_path / "net.onnx", precision, inputs(1), threads=1)
    assert [path.name for path in report.paths] == ["net.onnx", "net.onnx.data"]
    before = {t.name: numpy_helper.to_array(t) for t in onnx.load(toy).graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in onnx.load(report.paths[0]).graph.initializer}
    name = next(name for name, value in before.items() if value.shape == (64, 16, 3, 3))
    stored = after[name if precision == "fp32" else f"{name}/{report.weights}"]
    assert stored.nbytes == bytes_each * before[name].size
    np.testing.assert_array_equal(stored, before[name].astype(stored.dtype))


def test_a_weight_that_two_formats_need_is_stored_once_and_wide(tmp_path: Path):
    weight = numpy_helper.from_array(np.full((1, 2), 3.0, np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "m"], ["a"], name="first"),
        helper.make_node("Mul", ["a", "w"], ["b"], name="narrow"),
        helper.make_node("Softmax", ["b"], ["c"], name="softmax"),
        helper.make_node("Add", ["c", "w"], ["d"], name="other"),
        helper.make_node("MatMul", ["d", "m"], ["y"], name="last"),
    ]
    eye = numpy_helper.from_array(np.eye(2, dtype=np.float32), "m")
    path = _save(tmp_path, nodes, [weight, eye])
    sample = np.array([[0.25, -1.5]], np.float32)
    report = apply(path, tmp_path / "out.onnx", "fp16", [sample], threads=1)
    model, types = tensor_types(report.paths[0])
    assert types["w"] == TensorProto.FLOAT  # the softmax's logits need it wide, the sum narrow
    assert [node.input[0] for node in model.graph.node if node.output[0] == "w/float16"] == ["w"]


def test_refusals(toy: Path, tmp_path: Path):
    out = tmp_path / "out.onnx"
    with pytest.raises(ExportError, match="one of fp32, fp16, bf16, int8, got 'fp8'"):
        apply(toy, out, "fp8", inputs(1))
    with pytest.raises(ExportError, match="at least one calibration input"):
        apply(toy, out, "fp16")
    with pytest.raises(ExportError, match="form must be"):
        apply(toy, out, "bf16", inputs(1), form="stored")
    with pytest.raises(ExportError, match="would replace"):
        apply(toy, toy, "fp16", inputs(1))
    with pytest.raises(ExportError, match="cannot be read"):
        apply(tmp_path / "none.onnx", out, "fp16", inputs(1))
    with pytest.raises(ExportError, match="NaN or infinity in float32 already"):
        apply(toy, out, "fp16", [np.full((1, 3, 16, 16), np.nan, np.float32)], threads=1)
    assert not list(tmp_path.iterdir())


def test_branches_are_refused(tmp_path: Path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2])],
    )
    condition = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ExportError, match="branches or loops"):
        open_graph(_save(tmp_path, [node], [condition]))


def _save(folder: Path, nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path
