"""Nobody ever sees half a file or half a folder."""

import os
import stat
from pathlib import Path

import pytest

from gen2seg_runtime import files
from gen2seg_runtime.errors import OutputError, OutputExistsError
from gen2seg_runtime.files import atomic_directory, atomic_path, atomic_write


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_write_makes_the_file_and_leaves_nothing_else(tmp_path: Path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
        assert not (tmp_path / "a.bin").exists()
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, OSError])
def test_interrupted_write_keeps_the_old_file(tmp_path: Path, interruption: type[BaseException]):
    (tmp_path / "a.bin").write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(tmp_path / "a.bin") as file:
            file.write(b"half")
            file.flush()
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_write_follows_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.bin") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_write_follows_a_link_and_keeps_it(tmp_path: Path):
    (tmp_path / "real.bin").write_bytes(b"old")
    (tmp_path / "link.bin").symlink_to("real.bin")
    with atomic_write(tmp_path / "link.bin") as file:
        file.write(b"new")
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "real.bin").read_bytes() == b"new"


def test_write_refuses_folders_devices_and_missing_parents(tmp_path: Path):
    for target in (tmp_path, Path("/dev/null"), tmp_path / "missing" / "a.bin"):
        with pytest.raises(OutputError, match=str(target)), atomic_write(target):
            pytest.fail("opened")
    assert Path("/dev/null").is_char_device()


def test_write_names_the_target_when_the_folder_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object) -> None:
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OutputError, match=r"a\.bin.*read-only"), atomic_write(tmp_path / "a.bin"):
            pytest.fail("opened")
        patch.undo()
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(OutputError, match=r"out.*read-only"), atomic_directory(tmp_path / "out"):
            pytest.fail("opened")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match=r"a\.bin.*read-only"), atomic_write(tmp_path / "a.bin"):
        pass
    assert names(tmp_path) == []


def test_directory_appears_complete(tmp_path: Path):
    with atomic_directory(tmp_path / "out") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/inner/a").read_text() == "1"


def test_interrupted_directory_keeps_the_old_one(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("old")

    def interrupted() -> None:
        with atomic_directory(tmp_path / "out", overwrite=True) as folder:
            (folder / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/a").read_text() == "old"


def test_directory_is_overwritten_only_when_asked(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    with pytest.raises(OutputExistsError, match="exists already"), atomic_directory(tmp_path / "out"):
        pytest.fail("opened")
    with atomic_directory(tmp_path / "out", overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_directory_that_appears_meanwhile_is_not_lost(tmp_path: Path):
    def overtaken() -> None:
        with atomic_directory(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out/a").write_text("somebody else's")

    with pytest.raises(OutputExistsError):
        overtaken()
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/a").read_text() == "somebody else's"


def test_directory_comes_back_when_the_swap_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("old")
    real = Path.replace
    calls = []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise PermissionError("no")
        return real(self, target)

    monkeypatch.setattr(files, "_exchange", lambda first, second: False)  # a system that cannot swap names
    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OutputError, match="no"), atomic_directory(tmp_path / "out", overwrite=True) as folder:
        (folder / "a").write_text("new")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/a").read_text() == "old"


def test_directory_refuses_what_must_not_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "here/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here/below")
    for name in ("file", "link", "here", "here/below", "missing/out"):
        with pytest.raises(OutputError), atomic_directory(tmp_path / name, overwrite=True):
            pytest.fail("opened")
    assert names(tmp_path) == ["file", "here", "link", "real"]


def test_a_path_for_libraries_that_open_files_by_name(tmp_path: Path):
    target = tmp_path / "clip.avi"
    target.write_bytes(b"old")
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".avi"
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(OutputError, match="nothing was written"), atomic_path(target):
        pass
    with pytest.raises(OutputError, match="not a regular file"), atomic_path(tmp_path):
        pass
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
