"""Artifacts made from a stage's graph: OpenVINO IR, TensorRT-RTX engines; and where they cannot be made."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gen2seg_export.onnx_graph import GraphSpec, write_graph
from gen2seg_export.parts import file_facts
from gen2seg_export.precision import PrecisionReport, apply
from gen2seg_export.source import Source
from gen2seg_export.targets import (
    Artifact,
    EngineCheckError,
    Int8RefusedError,
    TargetError,
    TargetUnavailableError,
    artifact,
    build,
)
from gen2seg_export.targets import engine as engine_module
from gen2seg_export.targets.child import run_in_child
from gen2seg_export.targets.engine_build import load_library
from gen2seg_export.targets.engine_check import check_engine, graph_formats
from gen2seg_export.targets.stopwatch import psnr
from gen2seg_export.targets.widening import widen_until_near
from gen2seg_runtime.cuda_probe import Gpu

from .toys import Toy, inputs, run_onnx, write_onnx

SHAPE = (1, 3, 16, 16)
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(Toy(), tmp_path_factory.mktemp("toy") / "toy.onnx", external=True)


@pytest.fixture(scope="module")
def narrow(toy: Path) -> dict[str, PrecisionReport]:
    return {p: apply(toy, toy.with_name(f"toy-{p}.onnx"), p, inputs(1), threads=1) for p in ("fp16", "bf16")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Path:
    """The embedded model's network, narrow, with free sizes."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    write_graph(source.module, GraphSpec(), path)
    return path


# -- OpenVINO ---------------------------------------------------------------------------------------------------


@needs_openvino
def test_ir_of_a_float32_graph_is_not_rounded(toy: Path, tmp_path: Path):
    told: list[str] = []
    made = build("openvino", toy, tmp_path / "ir", stage="net", shapes=[SHAPE], precision="fp32", progress=told.append)
    assert [path.name for path in made.paths] == ["net.xml", "net.bin"]
    assert sorted(path.name for path in (tmp_path / "ir").iterdir()) == ["net.bin", "net.xml"]
    x = inputs(1, seed=8)[0]
    np.testing.assert_allclose(_run_ir(made, x), run_onnx(toy, x), atol=2e-3)
    assert told == ["reading the graph", "writing"]
    assert made.facts["sha256"]["net.bin"] == file_facts(made.paths[1])["sha256"]
    assert made.facts["inference_precision"] == "f32"
    assert made.facts["peak_memory_bytes"] > 0
    for folder in (toy.parent, tmp_path):
        assert str(folder) not in made.paths[0].read_text()


@needs_openvino
def test_ir_keeps_the_formats_of_the_graph(narrow: dict[str, PrecisionReport], toy: Path, tmp_path: Path):
    import openvino

    made = build("openvino", narrow["bf16"].paths[0], tmp_path, stage="net", shapes=[SHAPE], precision="bf16")
    kinds = {
        op.get_type_name(): op.get_output_element_type(0).to_string()
        for op in openvino.Core().read_model(made.paths[0]).get_ops()
    }
    assert kinds["MatMul"] == "bf16"
    assert kinds["Softmax"] == "f32"
    x = inputs(1, seed=8)[0]
    assert 40 < psnr(run_onnx(toy, x), _run_ir(made, x)) < 90


def _run_ir(made: Artifact, x: np.ndarray) -> np.ndarray:
    import openvino

    config = {"INFERENCE_PRECISION_HINT": made.facts["inference_precision"], "INFERENCE_NUM_THREADS": 1}
    return openvino.Core().compile_model(str(made.paths[0]), "CPU", config)([x])[0]


FAST = {"float_ms": 2.0, "float_precision": "f32", "int8_ms": 1.0, "int8_precision": "f32", "psnr": 50.0}


@pytest.fixture
def int8_job(toy: Path, tmp_path: Path) -> dict[str, Any]:
    """What the parent hands to the builder; the tests below call the builder in this process."""
    paths = []
    for number, array in enumerate(inputs(5)):
        paths.append(str(tmp_path / f"{number}.npy"))
        np.save(paths[-1], array)
    return {
        "graph": str(toy),
        "xml": str(tmp_path / "net.xml"),
        "shapes": [SHAPE],
        "precision": "int8",
        "compress": False,
        "wide_nodes": [],
        "calibration": paths,
        "min_psnr": 35.0,
        "threads": 1,
    }


@needs_openvino
@needs_nncf
def test_int8_passes_the_gate_and_leaves_the_ends_wide(
    int8_job: dict[str, Any], toy: Path, monkeypatch: pytest.MonkeyPatch
):
    import openvino

    from gen2seg_export.targets import openvino_build

    monkeypatch.setattr(openvino_build, "compare", lambda *_args: dict(FAST))  # times of a toy mean nothing
    result = openvino_build.build_ir(int8_job, lambda _text: None)
    assert "2.00 times as fast" in result["notes"][0]
    model = openvino.Core().read_model(int8_job["xml"])
    convolutions = [op for op in model.get_ops() if op.get_type_name() == "Convolution"]
    quantized = [op for op in convolutions if "FakeQuantize" in _makers(op)]
    assert len(convolutions) == 5
    assert len(quantized) == 3  # all but the first and the last
    x = inputs(1, seed=8)[0]
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    got = openvino.Core().compile_model(model, "CPU", config)([x])[0]
    assert 35 < psnr(run_onnx(toy, x), got) < 70


@needs_openvino
@needs_nncf
def test_int8_that_is_too_far_off_leaves_its_most_sensitive_products_float(
    int8_job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    from gen2seg_export.targets import openvino_build

    real = openvino_build.compare
    monkeypatch.setattr(openvino_build, "compare", lambda *args: {**FAST, "psnr": real(*args)["psnr"]})
    plain = openvino_build.build_ir(int8_job, lambda _text: None)["figures"]
    told: list[str] = []
    widened = openvino_build.build_ir({**int8_job, "min_psnr": plain["psnr"] + 0.5}, told.append)
    assert widened["figures"]["psnr"] >= plain["psnr"] + 0.5
    assert widened["figures"]["wide_products"] >= 1
    assert "most sensitive of" in widened["notes"][0]
    assert any("with part 1 of" in line for line in told)
    with pytest.raises(Int8RefusedError, match="at least 199 is required"):
        openvino_build.build_ir({**int8_job, "min_psnr": 199.0}, told.append)


def test_the_parts_that_help_most_are_left_wide():
    loss = dict.fromkeys("abcdefghijklmnop", 1.0) | {"e": 50.0, "k": 9.0}
    quality = lambda wide: 100 - sum(value for name, value in loss.items() if name not in wide)  # noqa: E731
    wide, figures = widen_until_near(
        list(loss), list, quality, lambda wide: {"psnr": quality(wide)}, 80.0, lambda _text: None
    )
    assert wide == ["e", "f", "k", "l"]  # 27 dB as it is, 78 with the worst part wide, 88 with two
    assert figures == {"psnr": 88.0, "wide_products": 4}


def _makers(op: Any) -> set[str]:
    return {value.get_node().get_type_name() for value in op.input_values()}


@needs_openvino
@needs_nncf
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"int8_ms": 2.5}, r"takes 2\.5 ms here, f32 2\.0 ms"),
        ({"psnr": 34.9}, r"PSNR 34\.9 dB, at least 35"),
        ({"psnr": float("-inf")}, "PSNR -inf"),
    ],
    ids=["slower", "far", "not finite"],
)
def test_int8_is_refused_with_the_figures(change: dict[str, float], message: str):
    from gen2seg_export.targets.openvino_build import _gate

    with pytest.raises(Int8RefusedError, match=message) as caught:
        _gate({**FAST, "min_psnr": 35.0, **change}, "net.onnx")
    assert caught.value.figures.items() >= change.items()


@needs_openvino
def test_openvino_refusals_leave_nothing(toy: Path, tmp_path: Path):
    with pytest.raises(TargetError, match="at least two calibration inputs"):
        build("openvino", toy, tmp_path / "a", stage="net", shapes=[SHAPE], precision="int8")
    with pytest.raises(TargetError, match="OpenVINO refuses the graph"):
        build("openvino", toy, tmp_path / "b", stage="net", shapes=[(1, 4, 16, 16)], precision="fp32")
    assert not list(tmp_path.iterdir())


def test_openvino_that_is_missing(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(TargetUnavailableError, match=r"gen2seg\[openvino\]"):
        build("openvino", toy, tmp_path / "ir", stage="net", shapes=[SHAPE], precision="fp32")


# -- TensorRT-RTX and TensorRT ----------------------------------------------------------------------------------


@needs_rtx
def test_engines_for_four_kinds_of_card_and_for_turing(narrow: dict[str, PrecisionReport], tmp_path: Path):
    graph = narrow["fp16"].paths[0]
    told: list[str] = []
    asked: dict[str, Any] = {"stage": "net", "shapes": [SHAPE], "precision": "fp16", "turing": True}
    made = build("tensorrt-rtx", graph, tmp_path, progress=told.append, **asked)
    engine, sidecar, log = made.paths[:3]
    assert engine.name == "net.tensorrt-rtx.sm80-sm86-sm89-sm120.engine"
    assert made.log == log
    facts = json.loads(sidecar.read_text())
    assert facts == made.facts["engines"][0]
    assert facts["file"] == engine.name
    assert facts["sha256"] == file_facts(engine)["sha256"]
    assert facts["made_from"]["graph"] == artifact.graph_digest(graph)
    assert facts["made_from"]["sms"] == [80, 86, 89, 120]
    flags = {"strongly_typed": True, "tf32": False, "user_allocation": True, "optimization_level": 3}
    assert facts["made_from"]["flags"] == flags
    assert facts["checks"]["products_in_network"]["float16"] > facts["checks"]["products_in_network"]["float32"]
    assert facts["checks"]["weight_bytes_in_engine"] < 1.2 * facts["checks"]["weight_bytes_in_graph"] + 10_000
    assert "Number of target compute capabilities: 4" in log.read_text()
    assert str(tmp_path) not in log.read_text() + sidecar.read_text()
    assert str(graph.parent) not in log.read_text()
    assert any(text.startswith("building") for text in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in made.paths)

    names = [f"net.tensorrt-rtx.sm75.{end}" for end in ("engine", "json", "log")]
    assert [path.name for path in made.paths[3:]] == names
    turing = made.facts["engines"][1]
    assert turing["made_from"]["sms"] == [75]
    assert turing["sha256"] == file_facts(made.paths[3])["sha256"]
    assert len({facts["key"], turing["key"], made.key}) == 3


@needs_rtx
def test_engine_of_the_embedded_network_for_two_sizes(tiny: Path, tmp_path: Path):
    generator = np.random.default_rng(0)
    calibration = [generator.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)]
    typed = apply(tiny, tmp_path / "tiny.onnx", "bf16", calibration, threads=1).paths[0]
    shapes = [(1, 3, 64, 64), (1, 3, 96, 64)]
    made = build("tensorrt-rtx", typed, tmp_path / "e", stage="net", shapes=shapes, precision="bf16")
    [engine] = made.facts["engines"]
    assert engine["made_from"]["shapes"] == [list(shape) for shape in shapes]
    assert engine["checks"]["products_in_network"] == engine["checks"]["products_in_graph"]
    assert engine["checks"]["products_in_graph"]["bfloat16"] > 20


@needs_rtx
def test_engine_of_a_graph_that_only_stores_float16_is_refused(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    """The embedded model's network in the form for CPUs: its engine would be wide without a word."""
    from gen2seg_export.targets import engine_check

    stored = apply(tiny, tmp_path / "stored.onnx", "fp16", form="stored").paths[0]
    monkeypatch.setattr(engine_check, "CODE_BYTES", 1000)  # this network is small beside the allowance
    with pytest.raises(EngineCheckError, match=r"its weights take [\d,]+ bytes, the graph's"):
        build("tensorrt-rtx", stored, tmp_path / "e", stage="net", shapes=[(1, 3, 64, 64)], precision="fp16")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("products", "log", "size", "message"),
    [
        ({"float32": 13}, "Total Weights Memory: 1 bytes", 1, "compute in float16, 0 of the network do"),
        (None, "nothing", 1, "does not tell"),
        (None, "Total Weights Memory: 999999999 bytes", 1, "its weights take 999,999,999 bytes"),
        (None, "Total Weights Memory: 1 bytes", 30_000_000, "the file has 30,000,000 bytes"),
    ],
    ids=["network", "no witness", "weights", "size"],
)
def test_a_wide_engine_is_told_by_each_witness(
    narrow: dict[str, PrecisionReport],
    tmp_path: Path,
    products: dict[str, int] | None,
    log: str,
    size: int,
    message: str,
):
    graph = narrow["fp16"].paths[0]
    engine = tmp_path / "net.engine"
    engine.write_bytes(bytes(size))
    right = graph_formats(graph)[0]
    result = {"products": products or right, "flags": {"strongly_typed": True}}
    with pytest.raises(EngineCheckError, match=message):
        check_engine(graph, engine, log, result)
    engine.write_bytes(b"e")
    check_engine(graph, engine, "Total Weights Memory: 1 bytes", {**result, "products": right})


def test_engine_refusals(toy: Path, tmp_path: Path):
    def make(**options: Any) -> Artifact:
        return build("tensorrt-rtx", toy, tmp_path / "e", **{"stage": "net", "shapes": [SHAPE], **options})

    with pytest.raises(TargetError, match=r"compute capability 7\.5 has no bfloat16"):
        make(precision="bf16", turing=True)
    with pytest.raises(TargetError, match="builds for compute capabilities"):
        make(precision="fp16", sms=(87,))
    with pytest.raises(TargetError, match="int8 is offered for the target openvino"):
        make(precision="int8")
    with pytest.raises(TargetError, match="at least one input shape"):
        make(precision="fp16", shapes=[])
    with pytest.raises(TargetError, match="unknown target 'coreml'"):
        build("coreml", toy, tmp_path, stage="net", shapes=[SHAPE], precision="fp16")
    assert not list(tmp_path.iterdir())


@needs_rtx
def test_engine_of_another_shape_is_refused(toy: Path, tmp_path: Path):
    with pytest.raises(TargetError, match=r"shape \(1, 3, 16, 16\); \(1, 3, 32, 32\) does not fit"):
        build("tensorrt-rtx", toy, tmp_path / "e", stage="net", shapes=[(1, 3, 32, 32)], precision="fp32")
    assert not list(tmp_path.iterdir())


def test_tensorrt_that_is_missing_leaves_the_command(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(TargetUnavailableError, match=r"trtexec --onnx=toy\.onnx --stronglyTyped") as caught:
        build("tensorrt", toy, tmp_path / "e", stage="net", shapes=[SHAPE], precision="fp16")
    script = tmp_path / "e/net.trtexec.sh"
    assert caught.value.paths == (script,)
    assert caught.value.command in script.read_text()
    assert "Shapes" not in caught.value.command  # the graph's size is fixed
    assert isinstance(caught.value, OSError)


def test_trtexec_gets_a_profile_for_each_size(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    shapes = [(1, 3, 64, 64), (1, 3, 96, 64)]
    with pytest.raises(TargetUnavailableError) as caught:
        build("tensorrt", tiny, tmp_path / "e", stage="net", shapes=shapes, precision="fp32")
    assert "--profile=1 --minShapes=image:1x3x96x64 --optShapes=image:1x3x96x64" in caught.value.command


def test_tensorrt_without_a_card_leaves_the_command(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    monkeypatch.setattr(engine_module, "MACHINE", SimpleNamespace(gpus=lambda: ()))
    command = r"no NVIDIA GPU.* run, in the folder of toy\.onnx: trtexec --onnx=toy\.onnx"
    with pytest.raises(TargetUnavailableError, match=command):
        build("tensorrt", toy, tmp_path / "e", stage="net", shapes=[SHAPE], precision="fp16")


def test_an_engine_for_the_local_card_names_it(narrow: dict[str, PrecisionReport], tmp_path, monkeypatch):
    """Built by a stand-in for TensorRT: its own wheels need a card."""
    graph = narrow["fp16"].paths[0]

    def build_engine(_builder: str, job: dict[str, Any], _progress: Any) -> dict[str, Any]:
        assert job["sms"] == []
        Path(job["engine"]).write_bytes(b"engine")
        Path(job["log"]).write_text("Total Weights Memory: 1 bytes")
        flags = {"strongly_typed": True}
        facts = {"version": "10.13", "seconds": 1, "peak_memory_bytes": 1}
        return {**facts, "products": graph_formats(graph)[0], "flags": flags}

    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace())
    monkeypatch.setattr(engine_module, "MACHINE", SimpleNamespace(gpus=lambda: (Gpu("RTX A6000", 86, 1),)))
    monkeypatch.setattr(engine_module, "run_in_child", build_engine)
    made = build("tensorrt", graph, tmp_path, stage="net", shapes=[SHAPE], precision="fp16")
    assert made.paths[0].name == "net.tensorrt.sm86.engine"
    [engine] = made.facts["engines"]
    assert (engine["made_from"]["sms"], engine["made_from"]["card"]) == ([86], "RTX A6000")


def test_libraries_that_are_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(TargetUnavailableError, match=r"pip install 'gen2seg\[tensorrt-rtx\]'"):
        load_library("tensorrt_rtx")


# -- the child process ------------------------------------------------------------------------------------------

BUILDERS = """
import os, signal, time
from pathlib import Path
from gen2seg_export.targets.errors import EngineCheckError, Int8RefusedError

def good(job, tell):
    print("noise of a library")
    tell("half way")
    return {"doubled": 2 * job["number"]}

def refused(job, tell):
    raise Int8RefusedError("too far", {"psnr": 12.5})

def wrong(job, tell):
    raise EngineCheckError("wide")

def killed(job, tell):
    os.kill(os.getpid(), signal.SIGKILL)

def crashed(job, tell):
    raise KeyError("a mistake of ours")

def slow(job, tell):
    Path(job["file"]).write_text("half")
    tell("started")
    time.sleep(600)
"""


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "builders_of_this_test.py").write_text(BUILDERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "builders_of_this_test"


def test_child_answers_and_fails_by_its_own_error(builders: str):
    told: list[str] = []
    result = run_in_child(f"{builders}:good", {"number": 21}, told.append)
    assert result["doubled"] == 42
    assert told == ["half way"]
    assert result["peak_memory_bytes"] > 1_000_000
    with pytest.raises(Int8RefusedError, match="too far") as caught:
        run_in_child(f"{builders}:refused", {})
    assert caught.value.figures == {"psnr": 12.5}
    with pytest.raises(EngineCheckError, match="wide"):
        run_in_child(f"{builders}:wrong", {})


def test_child_that_dies_is_an_error(builders: str):
    with pytest.raises(TargetError, match="killed by the system"):
        run_in_child(f"{builders}:killed", {})
    with pytest.raises(TargetError, match="a mistake of ours"):
        run_in_child(f"{builders}:crashed", {})


def test_interrupted_build_leaves_nothing(builders: str, tmp_path: Path):
    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), artifact.build_folder(out) as folder:  # noqa: PT012
        file = folder / "engine"
        run_in_child(f"{builders}:slow", {"file": str(file)}, interrupt)
    assert not out.exists()
