"""Which engine of a stage a card takes; and bundles of before, which have one."""

import sys
from typing import Any

import numpy as np
import pytest

from gen2seg_runtime.backends import engine_stage, open_backend, registry
from gen2seg_runtime.backends.engine_files import EngineFile, engine_files, fitting_engine
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.cuda_probe import Gpu
from gen2seg_runtime.doctor import examine
from gen2seg_runtime.manifest import StageSpec

from .conftest import BundleMaker
from .fake_gpu import FakeDevice, engine_bytes, fake_tensorrt
from .fake_machine import GIB, rtx_machine

NEWER, TURING, UNNAMED = EngineFile("a.engine", (80, 86)), EngineFile("b.engine", (75,)), EngineFile("c.engine")
PATHS = ("engines/a.engine", "engines/a.json", "engines/b.engine", "engines/b.json")


def stage_with(paths: tuple[str, ...], facts: Any) -> StageSpec:
    return StageSpec(
        name="network",
        path="model.onnx",
        input="image",
        output="colors",
        artifacts={"trt": paths},
        facts={"trt": facts},
    )


def record(name: str, sms: list[int], **more: Any) -> dict[str, Any]:
    return {"file": name, "made_from": {"sms": sms, "version": "1.7", **more}}


@pytest.mark.parametrize(
    ("capability", "engines", "fitting"),
    [
        (86, (TURING, NEWER), NEWER),
        (75, (NEWER, TURING), TURING),
        (90, (NEWER, TURING), None),
        (90, (NEWER, UNNAMED), UNNAMED),
        (80, (UNNAMED, NEWER), NEWER),
        (80, (), None),
    ],
)
def test_a_card_takes_the_engine_that_names_it(capability: int, engines: Any, fitting: EngineFile | None):
    assert fitting_engine(engines, capability) == fitting


def test_engines_are_matched_with_their_records_by_name():
    facts = {"engines": [record("b.engine", [75]), record("a.engine", [80, 86], card="RTX 3060")]}
    assert engine_files("trt", stage_with(PATHS, facts)) == (
        EngineFile("engines/a.engine", (80, 86), "1.7", "RTX 3060"),
        EngineFile("engines/b.engine", (75,), "1.7"),
    )


@pytest.mark.parametrize("facts", [{"engines": "none"}, {"engines": [None, {"file": 3}]}, {"made_from": []}])
def test_facts_that_say_nothing(facts: Any):
    assert engine_files("trt", stage_with(PATHS[:2], facts)) == (EngineFile("engines/a.engine"),)


def test_a_bundle_of_before_has_one_engine_and_its_facts_in_another_place():
    facts = {"made_from": {"sms": [80, 86], "version": "1.7"}}
    assert engine_files("trt", stage_with(PATHS[:2], facts)) == (EngineFile("engines/a.engine", (80, 86), "1.7"),)


def one_stage(document: dict[str, Any], paths: list[str], engines: list[dict[str, Any]]) -> None:
    """Make a manifest that of one stage with engines at these paths, of which these are the facts."""
    document["schema"] = "gen2seg.bundle/1.1"
    document["stages"] = [
        {
            "name": "network",
            "path": "model.onnx",
            "input": "image",
            "output": "colors",
            "precision": {"weights": "float32", "compute": "float32"},
            "artifacts": {"tensorrt_rtx": paths},
            "facts": {"tensorrt_rtx": {"engines": engines}},
        }
    ]


@pytest.fixture
def two_engines(make_bundle: BundleMaker):
    """An engine that doubles for Turing, one that triples for newer cards."""
    engines = [record("a.engine", [75]), record("b.engine", [80, 86, 89, 120])]
    for engine in engines:
        engine["made_from"]["version"] = "1.7.1.116"

    return make_bundle(
        lambda document: one_stage(document, ["engines/a.engine", "engines/b.engine"], engines),
        {
            "model.onnx": ("model", b"graph"),
            "engines/a.engine": ("artifact", engine_bytes(2.0)),
            "engines/b.engine": ("artifact", engine_bytes(3.0)),
        },
    )


@pytest.mark.parametrize(("capability", "factor"), [(75, 2), (86, 3)])
def test_the_card_at_hand_decides(two_engines: Any, capability: int, factor: int, monkeypatch: pytest.MonkeyPatch):
    device = FakeDevice()
    device.capability = capability
    machine = rtx_machine(cards=[Gpu("card", capability, GIB)])
    monkeypatch.setattr(engine_stage, "CudaDevice", lambda index: device)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(device))
    monkeypatch.setattr(registry, "MACHINE", machine)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 64)).astype(np.float32)
    got = open_backend(Bundle.open(two_engines), "tensorrt_rtx").run(x)
    np.testing.assert_array_equal(got, factor * np.repeat(x[:, :1], 3, axis=1))
    report = examine(two_engines, machine)
    [verdict] = [verdict for verdict in report.verdicts if verdict.backend == "tensorrt_rtx"]
    assert verdict.status == "runs"
    assert report.bundle["stages"] == ["network (float32; tensorrt_rtx 1.7.1.116 for sm_75 sm_80 sm_86 sm_89 sm_120)"]


def test_a_card_that_no_engine_is_for(two_engines: Any):
    report = examine(two_engines, rtx_machine(cards=[Gpu("H100", 90, 80 * GIB)]))
    [verdict] = [verdict for verdict in report.verdicts if verdict.backend == "tensorrt_rtx"]
    assert [obstacle.code for obstacle in verdict.obstacles] == ["G2S-E014"]
    assert "engines of stage 'network' are for sm_75, sm_80, sm_86, sm_89, sm_120, H100 is sm_90" in str(verdict)


def test_an_engine_built_on_another_kind_of_card_is_noted(make_bundle: BundleMaker):
    engine = {"file": "net.engine", "made_from": {"version": "1.7.1.116", "sms": [86], "card": "RTX A6000"}}
    files = {"model.onnx": ("model", b"g"), "net.engine": ("artifact", b"e")}
    report = examine(make_bundle(lambda document: one_stage(document, ["net.engine"], [engine]), files), rtx_machine())
    [verdict] = [verdict for verdict in report.verdicts if verdict.backend == "tensorrt_rtx"]
    assert [note.message for note in verdict.notes if note.code == "G2S-W106"] == [
        "the engine of stage 'network' was built on RTX A6000, this is RTX 3060"
    ]
