import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from gen2seg_export import cli, pipeline
from gen2seg_export.onnx_graph import large_weights
from gen2seg_export.targets.errors import Int8RefusedError, TargetError
from gen2seg_runtime.bundle import Bundle

from .conftest import perturbed, put_graph

Args = list[str]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "GEN2SEG_DATA"}
    path = os.pathsep.join(item for item in sys.path if item)
    return subprocess.run(
        [sys.executable, "-m", "gen2seg_export.cli", *arguments],
        env={**clean, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_checkpoint_becomes_a_bundle(checkpoint: Path, tmp_path: Path):
    output = tmp_path / "bundle"
    done = _run(
        *("--backbone", "tiny", "--checkpoint", str(checkpoint), "--fp16", "--threads", "1", "--max-images", "2"),
        *("--size", "320", "--enlarge-below", "128", "--json", "-o", str(output)),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["state"] == "trained"
    assert report["precision"] == {"weights": "float16", "compute": "float32"}
    assert report["verification"]["passed"] is True
    bundle = Bundle.open(output)
    assert bundle.manifest.input.resize.size == 320
    assert report["bytes"] == sum(p.stat().st_size for p in output.rglob("*") if p.is_file())
    for stage in ("load", "reference", "graph", "convert", "verify", "control", "measure"):
        assert stage in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone", "sd3", "--random-weights"), "'sd3' has no exporter; known: "),
        (("--backbone", "tiny", "--checkpoint", "no/such/folder"), "no/such/folder is no folder"),
    ],
    ids=["backbone", "checkpoint"],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: Sequence[str], message: str, tmp_path: Path):
    done = _run(*arguments, "-o", str(tmp_path / "b"))
    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("gen2seg-export: error: ")
    assert message in last
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "tiny"], "either --checkpoint DIR or --random-weights"),
        (["--backbone", "tiny", "--random-weights", "--checkpoint", "x"], "either --checkpoint"),
        (["--backbone", "tiny", "--random-weights", "--height", "x"], "--height"),
        (["--backbone", "tiny", "--random-weights", "--height", "64"], "height and width go together"),
        (["--backbone", "tiny", "--random-weights", "--fp16", "--int8"], "--fp16 and --int8 exclude each other"),
        (["--backbone", "tiny", "--random-weights", "--target", "onnx,coreml"], "targets are onnx, openvino"),
        (["--backbone", "tiny", "--random-weights", "--turing"], "--turing is for --target tensorrt-rtx"),
        (["--random-weights"], "--backbone"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_wrong_options(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main([*arguments, "-o", str(tmp_path / "b")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_torch():
    program = "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
    path = os.pathsep.join(item for item in sys.path if item)
    done = subprocess.run(
        [sys.executable, "-c", program + "from gen2seg_export.cli import main; sys.exit(main(['--help']))"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "--random-weights" in done.stdout


def test_an_engine_that_cannot_be_built_is_exit_code_1_beside_a_whole_bundle(
    quick: dict, checkpoint: Path, graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    put_graph(monkeypatch, graph)
    monkeypatch.setattr(pipeline, "add_kernels", lambda *_args: None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    output = tmp_path / "b"
    words = ["--backbone", "tiny", "--checkpoint", str(checkpoint), "--target", "tensorrt", "--threads", "1"]
    assert cli.main([*words, "--max-images", "1", "--json", "-o", str(output)]) == 1
    said = capsys.readouterr()
    last = said.err.strip().splitlines()[-1]
    assert "written and verified, but without 1 of the engines" in last
    assert "pip install 'gen2seg[tensorrt]'" in last
    assert "trtexec --onnx=model.onnx --stronglyTyped" in last
    assert json.loads(said.out)["verification"]["passed"] is True
    script = Bundle.open(output).read("engines/network.trtexec.sh").decode()
    assert "trtexec --onnx=model.onnx" in script


@pytest.fixture
def faulty(quick: dict, checkpoint: Path, graph: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of an export whose graph got one wrong weight."""
    put_graph(monkeypatch, perturbed(graph, large_weights(graph)[0]))
    return ["--backbone", "tiny", "--checkpoint", str(checkpoint), "--threads", "1", "--max-images", "2"]


def test_failing_the_gate_is_exit_code_1(faulty: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "b"
    assert cli.main([*faulty, "-o", str(output)]) == 1
    assert "fails the gate and was not written" in capsys.readouterr().err
    assert not output.exists()


def test_force_is_exit_code_0_and_plain(faulty: Args, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "b"
    assert cli.main([*faulty, "--force", "--json", "-o", str(output)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["forced"] is True
    assert "written by force" in captured.err
    assert Bundle.open(output).manifest.verification["forced"] is True


@pytest.mark.parametrize(
    ("error", "code"),
    [(Int8RefusedError("slower here", {}), 1), (TargetError("no"), 2), (OSError(28, "No space left on device"), 2)],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_an_export_is_one_line_and_a_code(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "export_bundle", fail)
    assert cli.main(["--backbone", "tiny", "--random-weights", "-o", str(tmp_path / "b")]) == code
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("gen2seg-export: error: ")


def test_an_interruption_leaves_nothing(quick: dict, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "verify_bundle", interrupt)
    output = tmp_path / "b"
    arguments = ["--backbone", "tiny", "--checkpoint", str(checkpoint), "-o", str(output)]
    assert cli.main(arguments) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.parts", "checkpoint"]
