"""`gen2seg verify`: good bundles hold, changed ones do not, and the exit code says so."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg.cli import main
from gen2seg_runtime import default_bundle_path

EMBEDDED = default_bundle_path()


@pytest.fixture
def other_colors(tmp_path: Path) -> Path:
    """The embedded bundle with the colours of one golden moved by 40, its digests right."""
    root = tmp_path / "bundle"
    shutil.copytree(EMBEDDED, root)
    manifest = json.loads((root / "bundle.json").read_text())
    path = root / manifest["goldens"][0]["colors"]
    with Image.open(path) as picture:
        moved = (np.asarray(picture).astype(int) + 40).clip(0, 255).astype(np.uint8)
    Image.fromarray(moved).save(path)
    for record in manifest["files"]:
        if root / record["path"] == path:
            content = path.read_bytes()
            record.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (root / "bundle.json").write_text(json.dumps(manifest))
    return root


def test_the_embedded_bundle_holds(capsys: pytest.CaptureFixture[str]):
    assert main(["verify", "--backend", "onnxruntime"]) == 0
    text = capsys.readouterr().out
    assert "verification holds" in text
    assert "scene-101" in text


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]):
    assert main(["verify", "--backend", "onnxruntime", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["state"] == "trained"
    assert {check["backend"] for check in document["checks"]} == {"onnxruntime"}
    assert all(check["colors"]["max"] <= 3 for check in document["checks"])
    assert all(0.9 < check["mask_iou"] <= 1 for check in document["checks"])


def test_other_colours_are_exit_code_1(other_colors: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(other_colors), "--backend", "onnxruntime"]) == 1
    text = capsys.readouterr().out
    assert "verification FAILED" in text
    assert "colours differ by" in text


def test_a_missing_backend_is_a_failure_and_named(capsys: pytest.CaptureFixture[str]):
    assert main(["verify", "--backend", "no-such", "--json"]) == 1
    [failure] = json.loads(capsys.readouterr().out)["failures"]
    assert "unknown backend 'no-such'" in failure


def test_a_damaged_bundle_is_bad_input(other_colors: Path, capsys: pytest.CaptureFixture[str]):
    data = bytearray((other_colors / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (other_colors / "model.onnx").write_bytes(data)
    assert main(["verify", str(other_colors)]) == 2
    assert "model.onnx" in capsys.readouterr().err


def test_a_bundle_without_goldens_does_not_pass(other_colors: Path, capsys: pytest.CaptureFixture[str]):
    manifest = json.loads((other_colors / "bundle.json").read_text())
    (other_colors / "bundle.json").write_text(json.dumps(manifest | {"goldens": []}))
    assert main(["verify", str(other_colors)]) == 1
    assert "no goldens" in capsys.readouterr().out


def test_it_needs_neither_torch_nor_onnx():
    program = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from gen2seg.cli import main; sys.exit(main(['verify', '--backend', 'onnxruntime']))"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_inspect_shows_stage_and_verification(capsys: pytest.CaptureFixture[str]):
    assert main(["inspect"]) == 0
    text = capsys.readouterr().out
    assert "stage network: model.onnx" in text
    assert "verification: passed" in text
    assert "licence: code Apache-2.0" in text
