"""A process killed while it writes (kill -9) leaves the old output or the new one, whole; nothing in between."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg_runtime import Encoding
from gen2seg_runtime.backends import graph_cache
from gen2seg_runtime.formats import FORMATS
from tests.robustness.killed_writer import FOLDER_FILES, encodings, writers
from tests.runtime.conftest import painting_graph, write_bundle

ROOT = Path(__file__).parents[2]
KILLS = 6

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


def start(*arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
    environment = os.environ | {"PYTHONPATH": path} | variables
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_every_writer(tmp_path: Path):
    expected: dict[str, list[bytes]] = {}
    versions = encodings()
    for i, version in enumerate(versions):
        folder = tmp_path / f"whole{i}"
        folder.mkdir()
        for write in writers(folder):
            write(version)
        for file in (item for item in folder.iterdir() if item.is_file()):
            expected.setdefault(file.name, []).append(file.read_bytes())
    assert set(expected) == {"a.enc.png", *(f"a{kind.suffix}" for kind in FORMATS.values())}
    assert all(a != b for a, b in expected.values())
    chance = random.Random(1)
    for attempt in range(KILLS):
        folder = tmp_path / f"killed{attempt}"
        folder.mkdir()
        process = start("tests.robustness.killed_writer", str(folder))
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.15))
        kill(process)
        for name, contents in expected.items():
            assert (folder / name).read_bytes() in contents, name
        assert Encoding.load(folder / "a.enc.png").bundle_name in ("version 0", "version 1")
        results = [(folder / "results" / f"{i}.txt").read_text() for i in range(FOLDER_FILES)]
        assert len(set(results)) == 1
        # What was being written may lie there, hidden, and harms nobody.
        names = {item.name for item in folder.iterdir() if not item.name.startswith(".")}
        assert names == {*expected, "results"}


def test_the_outputs_of_a_batch(tmp_path: Path):
    root = write_bundle(tmp_path / "bundle", {"model.onnx": ("model", painting_graph().SerializeToString())})
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[20:90, 30:120] = (220, 30, 30)
    (tmp_path / "in").mkdir()
    for i in range(200):
        Image.fromarray(picture).save(tmp_path / "in" / f"{i:03}.png")
    out = tmp_path / "out"
    run = "import sys; from gen2seg.cli import main; sys.exit(main())"
    path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
    command = [sys.executable, "-c", run, "instances", str(tmp_path / "in"), "--bundle", str(root), "-o", str(out)]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # Killed once something is there; 200 pictures take far longer than to see the first.
    while process.poll() is None and not list(out.glob("*.json")):
        time.sleep(0.01)
    kill(process)
    whole = {item.suffix: item.read_bytes() for item in out.glob("000.*")}
    assert 0 < len(list(out.glob("*.json"))) < 200
    for item in out.glob("[0-9]*"):
        content = item.read_bytes()
        assert content.replace(item.stem.encode(), b"000") == whole[item.suffix], item.name


def test_the_kept_graph(tmp_path: Path):
    """Killed while it is made, the cache is used or made anew, and the picture comes out the same."""
    root = write_bundle(tmp_path / "bundle", {"model.onnx": ("model", painting_graph().SerializeToString())})
    code = f"""
import itertools, os, shutil
from gen2seg_runtime import Segmenter
Segmenter.open({str(root)!r})
os.write(1, b"ready\\n")
for _ in itertools.count():
    for item in os.listdir(os.environ[{graph_cache.VARIABLE!r}]):
        if item.endswith(".graph"):
            os.unlink(os.path.join(os.environ[{graph_cache.VARIABLE!r}], item))
    Segmenter.open({str(root)!r}, threads=1)
"""
    (tmp_path / "opener.py").write_text(code)
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    chance = random.Random(2)
    for attempt in range(2):
        folder = tmp_path / f"graphs{attempt}"
        path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
        environment = os.environ | {"PYTHONPATH": path, graph_cache.VARIABLE: str(folder)}
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(tmp_path / "opener.py")], env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.05))
        kill(process)
        for kept in folder.glob("*.graph"):
            assert graph_cache._read(kept) is not None
        check = f"""
import numpy as np, warnings
warnings.simplefilter("ignore")
from gen2seg_runtime import Segmenter
picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
print(Segmenter.open({str(root)!r}, threads=1).encode(picture).colors.sum())
"""
        shown = subprocess.run(
            [sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=True
        ).stdout
        assert int(shown) == int(picture.sum()) or abs(int(shown) - int(picture.sum())) < picture.size
        shutil.rmtree(folder)
