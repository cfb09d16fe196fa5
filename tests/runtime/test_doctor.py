"""`doctor` on machines of every kind, all of them made up: one test for each code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gen2seg_runtime.backends.checks import Obstacle
from gen2seg_runtime.codes import CODES
from gen2seg_runtime.cuda_probe import Gpu
from gen2seg_runtime.doctor import Report, Verdict, examine
from gen2seg_runtime.machine import Memory

from .conftest import BundleMaker
from .fake_machine import GIB, FakeProbes, rtx_machine

FILES = {"model.onnx": ("model", b"graph"), "engines/net.engine": ("artifact", b"engine")}


def rtx_bundle(sms: list[int] | None = None, compute: str = "float32", **stage: Any):
    """Changes a manifest into one with a TensorRT-RTX engine."""

    def change(manifest: dict[str, Any]) -> None:
        made = {"library": "tensorrt_rtx", "version": "1.7.1.116", "sms": [80, 86] if sms is None else sms}
        manifest["schema"] = "gen2seg.bundle/1.1"
        manifest["stages"] = [
            {
                "name": "network",
                "path": "model.onnx",
                "input": "image",
                "output": "colors",
                "precision": {"weights": compute, "compute": compute},
                "artifacts": {"tensorrt_rtx": ["engines/net.engine"]},
                "facts": {"tensorrt_rtx": {"made_from": made}},
                **stage,
            }
        ]

    return change


def verdict(report: Report, backend: str) -> Verdict:
    return next(item for item in report.verdicts if item.backend == backend)


def codes(report: Report, backend: str) -> list[str]:
    return [obstacle.code for obstacle in verdict(report, backend).obstacles]


def note_codes(report: Report) -> set[str]:
    return {note.code for note in report.notes} | {note.code for item in report.verdicts for note in item.notes}


def test_a_bundle_for_this_gpu_will_run(make_bundle: BundleMaker):
    report = examine(make_bundle(rtx_bundle(), FILES), rtx_machine())
    assert report.usable
    assert verdict(report, "tensorrt_rtx").status == "runs"
    assert verdict(report, "tensorrt_rtx").versions == {"tensorrt-rtx-cu13": "1.7.1.116"}
    assert report.auto == ("network: tensorrt_rtx (the bundle holds an engine for this GPU)",)
    assert report.bundle["stages"] == ["network (float32; tensorrt_rtx 1.7.1.116 for sm_80 sm_86)"]
    assert report.machine["GPUs"] == ["RTX 3060 (sm_86, 12288 MiB)"]
    assert report.machine["driver"] == "580.65, CUDA 13.0"
    assert "G2S-W107" in note_codes(report)
    assert "this bundle will run here" in report.to_text()


def test_the_embedded_bundle_on_a_plain_machine():
    report = examine(None, FakeProbes())
    assert report.usable
    assert verdict(report, "onnxruntime").status == "runs"
    assert codes(report, "openvino") == ["G2S-E010"]
    assert codes(report, "tensorrt_rtx") == ["G2S-E012", "G2S-E010", "G2S-E015"]
    assert verdict(report, "tensorrt_rtx").status == "cannot"
    assert report.auto == ("network: onnxruntime (it runs every graph)",)


@pytest.mark.parametrize(
    ("probes", "sms", "code", "status", "words"),
    [
        (rtx_machine("1.8.0.1"), None, "G2S-E013", "rebuild", "built by tensorrt_rtx 1.7.1.116, 1.8.0.1 is installed"),
        (
            rtx_machine(cards=[Gpu("H100", 90, 80 * GIB)]),
            None,
            "G2S-E014",
            "rebuild",
            "for sm_80, sm_86, H100 is sm_90",
        ),
        (rtx_machine(cards=[], cuda=None), None, "G2S-E015", "cannot", "no NVIDIA GPU or no driver"),
        (rtx_machine(cuda=12080), None, "G2S-E016", "cannot", r"for CUDA 13, this one \(580.65\) ends at CUDA 12.8"),
        (rtx_machine(cards=[Gpu("tiny", 86, 3)]), None, "G2S-E017", "cannot", "tiny has 0"),
        (rtx_machine(broken={"tensorrt_rtx": "OSError: libx.so"}), None, "G2S-E022", "cannot", "OSError: libx.so"),
        (FakeProbes(cards=[Gpu("card", 86, GIB)], cuda=13000), None, "G2S-E010", "cannot", "tensorrt-rtx"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("G2S") else "",
)
def test_what_keeps_an_engine_from_running(
    make_bundle: BundleMaker, probes: FakeProbes, sms: list[int], code: str, status: str, words: str
):
    report = examine(make_bundle(rtx_bundle(sms), FILES), probes)
    found = verdict(report, "tensorrt_rtx")
    assert (codes(report, "tensorrt_rtx"), found.status) == ([code], status)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.obstacles[0].message)
    assert report.usable  # ONNX Runtime is still there
    if code in ("G2S-E017", "G2S-E022"):  # what only an examination looks at
        assert report.auto[0].endswith("opening it will fail: name another backend")
    else:
        assert report.auto[0].startswith("network: onnxruntime")
        assert f"not tensorrt_rtx: {found.obstacles[0].message}" in report.auto[0]


def test_a_packagers_suffix_is_no_other_version(make_bundle: BundleMaker):
    report = examine(make_bundle(rtx_bundle(), FILES), rtx_machine("1.7.1.116.post2"))
    assert verdict(report, "tensorrt_rtx").status == "runs"


def test_an_engine_for_an_unnamed_gpu_is_noted(make_bundle: BundleMaker):
    report = examine(make_bundle(rtx_bundle(sms=[]), FILES), rtx_machine())
    assert verdict(report, "tensorrt_rtx").status == "runs"
    assert "G2S-W106" in note_codes(report)


def test_bfloat16_runs_in_openvino_only(make_bundle: BundleMaker):
    probes = FakeProbes(modules=("onnxruntime", "openvino"), versions={"openvino": "2026.4"})
    report = examine(make_bundle(rtx_bundle(compute="bfloat16", backend="openvino"), FILES), probes)
    assert codes(report, "onnxruntime") == ["G2S-E019"]
    assert verdict(report, "openvino").status == "runs"
    assert "G2S-W104" in note_codes(report)
    probes.features = frozenset({"avx512_bf16"})
    assert "G2S-W104" not in note_codes(examine(make_bundle(rtx_bundle(compute="bfloat16"), FILES, "b"), probes))


def test_nothing_runs(make_bundle: BundleMaker):
    report = examine(make_bundle(rtx_bundle(compute="bfloat16"), FILES), FakeProbes())
    assert not report.usable
    assert report.auto == ()
    assert "nothing here will run this bundle" in report.to_text()


def test_memory(make_bundle: BundleMaker):
    def hungry(manifest: dict[str, Any]) -> None:
        manifest["resources"] = {"peak_memory_bytes": 9 * GIB}

    report = examine(make_bundle(hungry), FakeProbes(ram=Memory(16 * GIB, 8 * GIB)))
    assert codes(report, "onnxruntime") == ["G2S-E018"]
    assert not report.usable
    assert examine(make_bundle(hungry, name="again"), FakeProbes(ram=Memory(16 * GIB, 10 * GIB))).usable


def test_openvino_and_weights_in_another_file(make_bundle: BundleMaker):
    files = {"model.onnx": ("model", b"graph"), "model.onnx.data": ("model_data", b"1234")}
    report = examine(make_bundle(None, files), FakeProbes(modules=("onnxruntime", "openvino")))
    assert codes(report, "openvino") == ["G2S-E020"]


def gpu_runtime(**others: Any) -> FakeProbes:
    return FakeProbes(
        versions={"onnxruntime-gpu": "1.32.0"},
        providers=("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        cards=[Gpu("card", 86, GIB)],
        cuda=13000,
        **others,
    )


def test_the_providers_of_onnxruntime_gpu():
    report = examine(None, gpu_runtime())
    assert verdict(report, "onnxruntime:cuda").status == "runs"
    assert verdict(report, "onnxruntime:tensorrt").status == "runs"
    assert codes(report, "onnxruntime:nv_tensorrt_rtx") == ["G2S-E010"]
    assert report.auto == ("network: onnxruntime (it runs every graph)",)  # a provider is never taken unasked


def test_the_plugin_beside_plain_onnxruntime():
    probes = FakeProbes(
        modules=("onnxruntime", "onnxruntime_ep_nv_tensorrt_rtx"),
        versions={"onnxruntime": "1.32.0", "onnxruntime-ep-nv-tensorrt-rtx-cu13": "0.5.0"},
        cards=[Gpu("card", 86, GIB)],
        cuda=13000,
    )
    assert verdict(examine(None, probes), "onnxruntime:nv_tensorrt_rtx").status == "runs"
    probes.cuda = 12090
    assert codes(examine(None, probes), "onnxruntime:nv_tensorrt_rtx") == ["G2S-E016"]


def test_two_onnxruntimes_shadow_each_other():
    probes = FakeProbes(
        versions={"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}, cards=[Gpu("card", 86, GIB)], cuda=13000
    )
    report = examine(None, probes)
    assert codes(report, "onnxruntime:cuda") == ["G2S-E011"]
    assert verdict(report, "onnxruntime").status == "runs"
    [note] = [note for note in report.notes if note.code == "G2S-W103"]
    assert note.message.startswith("onnxruntime-gpu 1.31.1 and onnxruntime 1.32.0 write the same files")


def test_a_provider_that_is_not_in_this_onnxruntime():
    report = examine(None, FakeProbes(cards=[Gpu("card", 86, GIB)], cuda=13000))
    assert codes(report, "onnxruntime:cuda") == ["G2S-E021"]
    assert "onnxruntime has no CUDAExecutionProvider" in verdict(report, "onnxruntime:cuda").obstacles[0].message


def test_untrained_weights_and_terms(make_bundle: BundleMaker):
    def terms(manifest: dict[str, Any]) -> None:
        manifest["licence"]["use_limits"] = ["not for trains"]

    report = examine(make_bundle(terms), FakeProbes())
    assert {("G2S-W101", "the weights are random: its masks mean nothing"), ("G2S-W102", "not for trains")} <= {
        (note.code, note.message) for note in report.notes
    }
    assert report.bundle["weights"] == "untrained, 1 parameters"


def test_kernels_for_other_gpus(make_bundle: BundleMaker):
    from gen2seg_kernels.aot.contract import Contract, Kernel, Target, to_json

    target = Target(86, False, "k.sm_86.cubin", 1, "0" * 64, ("1", "1", "1"), (32, 1, 1), 0, 1, 0, 0, 0, {})
    contract = to_json(Contract("3.8", {"k": Kernel("k", "", "k", (), (), (target,))})).encode()
    files = FILES | {"kernels/kernels.json": ("kernel", contract)}
    bundle = make_bundle(rtx_bundle(sms=[86, 120]), files)
    assert "G2S-W105" not in note_codes(examine(bundle, rtx_machine()))
    report = examine(bundle, rtx_machine(cards=[Gpu("RTX 5090", 120, GIB)]))
    assert verdict(report, "tensorrt_rtx").status == "runs"
    assert "G2S-W105" in note_codes(report)
    damaged = make_bundle(rtx_bundle(), FILES | {"kernels/kernels.json": ("kernel", b"{}")}, "damaged")
    assert "G2S-W105" in note_codes(examine(damaged, rtx_machine()))


@pytest.mark.parametrize("kind", ["no folder", "no manifest", "foreign", "future"])
def test_a_foreign_bundle(make_bundle: BundleMaker, tmp_path: Path, kind: str):
    root = tmp_path / "other"
    if kind != "no folder":
        root.mkdir()
    if kind == "foreign":
        (root / "bundle.json").write_text('{"weights": "elsewhere"}')
    if kind == "future":
        root = make_bundle(lambda manifest: manifest.update(schema="gen2seg.bundle/2.0"))
    report = examine(root, FakeProbes())
    assert [problem.code for problem in report.problems] == ["G2S-E001"]
    assert not report.usable
    assert report.verdicts == ()


def test_files_that_are_not_there(make_bundle: BundleMaker):
    root = make_bundle(rtx_bundle(), FILES)
    (root / "engines/net.engine").unlink()
    (root / "model.onnx").write_bytes(b"other length")
    report = examine(root, rtx_machine())
    assert [problem.code for problem in report.problems] == ["G2S-E002", "G2S-E002"]
    assert not report.usable
    (root / "model.onnx").unlink()
    (root / "model.onnx").symlink_to("bundle.json")
    assert "is a link" in examine(root, rtx_machine()).problems[0].message


def test_weights_are_not_read(make_bundle: BundleMaker, monkeypatch: pytest.MonkeyPatch):
    root = make_bundle(rtx_bundle(), FILES)
    opened = []
    real = Path.open

    def spy(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.name)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", spy)
    assert examine(root, rtx_machine()).usable
    assert opened == ["bundle.json"]


def test_json_names_the_section_of_every_code(make_bundle: BundleMaker):
    report = examine(make_bundle(rtx_bundle(), FILES), FakeProbes())
    document = json.loads(json.dumps(report.to_json()))
    assert document["usable"] is True
    [entry] = [item for item in document["backends"] if item["backend"] == "tensorrt_rtx"]
    assert entry["status"] == "cannot"
    assert [reason["code"] for reason in entry["reasons"]] == ["G2S-E010", "G2S-E015"]
    assert entry["reasons"][0]["docs"] == "docs/error-codes.md#g2s-e010"
    for reason in entry["reasons"]:
        assert f"{reason['code']} {reason['message']}" in report.to_text()


def test_every_code_has_a_section():
    page = (Path(__file__).parents[2] / "docs/error-codes.md").read_text()
    sections = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## G2S-")]
    assert sections == sorted(CODES)


def test_an_obstacle_has_a_known_code():
    with pytest.raises(AssertionError, match="G2S-E999"):
        Obstacle("G2S-E999", "cannot", "")


@pytest.mark.parametrize(("argument", "code"), [([], 0), (["/nowhere"], 1)])
def test_the_command(argument: list[str], code: int):
    done = subprocess.run(
        [sys.executable, "-m", "gen2seg.cli", "doctor", "--json", *argument],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["usable"] is (code == 0)
