"""Kept optimised graphs: the same bits, made anew when damaged or foreign, and never in the way."""

import hashlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import graph_cache
from gen2seg_runtime.errors import BackendError

from .conftest import BundleMaker

pytestmark = pytest.mark.filterwarnings("ignore::gen2seg_runtime.errors.BundleWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path / "graphs"))
    return tmp_path / "graphs"


def kept(folder: Path) -> Path:
    (found,) = folder.iterdir()  # and no temporary one beside it
    return found


def test_a_kept_graph_is_used_and_gives_the_same_bits(folder: Path, monkeypatch: pytest.MonkeyPatch):
    picture = np.random.default_rng(0).integers(0, 256, (40, 384, 3), np.uint8)
    first = Segmenter.open(threads=1).encode(picture)
    path = kept(folder)
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
    written = path.stat().st_ino
    second = Segmenter.open(threads=1).encode(picture)
    assert kept(folder).stat().st_ino == written
    monkeypatch.setenv(graph_cache.VARIABLE, "off")
    plain = Segmenter.open(threads=1).encode(picture)
    np.testing.assert_array_equal(first.colors, plain.colors)
    np.testing.assert_array_equal(second.colors, plain.colors)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "refused", "folder"])
def test_a_damaged_one_is_made_anew(folder: Path, make_bundle: BundleMaker, squares: np.ndarray, damage: str):
    root = make_bundle()
    expected = Segmenter.open(root, threads=1).encode(squares).colors
    path = kept(folder)
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "refused":  # whole by its digest, and no graph
        path.write_bytes(b"nonsense" + graph_cache._FIELD + hashlib.sha256(b"nonsense").digest())
    else:
        broken = {"cut": whole[:-1], "flipped": whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], "empty": b""}
        path.write_bytes(broken[damage])
    np.testing.assert_array_equal(Segmenter.open(root, threads=1).encode(squares).colors, expected)
    if damage != "folder":  # which is not ours to remove
        assert kept(folder).read_bytes() == whole


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_what_others_may_write_is_not_used(folder: Path, make_bundle: BundleMaker, squares: np.ndarray):
    root = make_bundle()
    Segmenter.open(root, threads=1)
    path = kept(folder)
    whole = path.read_bytes()
    path.chmod(0o666)
    Segmenter.open(root, threads=1).encode(squares)
    assert path.read_bytes() == whole
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, make_bundle: BundleMaker, squares: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(graph_cache.VARIABLE, str(tmp_path / "file" / "graphs"))
    assert Segmenter.open(make_bundle(), threads=1).encode(squares).size == (60, 80)


def test_the_name_depends_on_everything_that_decides(monkeypatch: pytest.MonkeyPatch):
    keys = {graph_cache.graph_key(*parts) for parts in (("a", "1", "all"), ("b", "1", "all"), ("a", "2", "all"))}
    keys.add(graph_cache.graph_key("a", "1", "basic"))
    monkeypatch.setattr(type(graph_cache.MACHINE), "cpu_features", lambda self: frozenset({"avx9"}))
    keys.add(graph_cache.graph_key("a", "1", "all"))
    assert len(keys) == 5


def test_off_unless_asked_for_and_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for value in ("", "off"):
        monkeypatch.setenv(graph_cache.VARIABLE, value)
        assert graph_cache.cache_folder() is None
    monkeypatch.setenv(graph_cache.VARIABLE, "relative/folder")
    with pytest.raises(BackendError, match="absolute"):
        graph_cache.cache_folder()
    monkeypatch.setenv(graph_cache.VARIABLE, "on")
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert graph_cache.cache_folder() == tmp_path / "gen2seg" / "graphs"


def test_the_folder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "FOLDER_BYTES", 25)
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / f"{name}.graph").write_bytes(b"0123456789")
        os.utime(tmp_path / f"{name}.graph", (1000 - age, 1000 - age))
    graph_cache._prune(tmp_path / "newest.graph")
    assert sorted(item.stem for item in tmp_path.iterdir()) == ["middle", "newest"]


def test_what_killed_processes_left_goes(tmp_path: Path):
    for name, age in ((".making-old", 2 * graph_cache._STALE), (".making-now", 0.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.onnx").write_bytes(b"half")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    graph_cache._prune(tmp_path / "newest.graph")
    assert [item.name for item in tmp_path.iterdir()] == [".making-now"]


def test_a_full_disk_is_no_obstacle(folder: Path):
    def plain(path: str | None) -> str:
        if path is not None:
            raise RuntimeError("no space left")
        return "session"

    assert graph_cache.open_optimized(b"graph", lambda: "key", plain, lambda _: "kept") == "session"
    assert not list(folder.iterdir())
