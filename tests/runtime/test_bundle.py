"""A bundle that was changed in any way is refused before anything parses it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gen2seg_runtime.bundle as bundle_module
from gen2seg_runtime.bundle import Bundle, default_bundle_path
from gen2seg_runtime.errors import BundleError, BundleIntegrityError, BundleIOError, BundleSchemaError

from .conftest import BundleMaker, sha256

FILES = {"model.onnx": ("model", b"the graph"), "goldens/a.bin": ("golden", b"golden")}


@pytest.fixture
def root(make_bundle: BundleMaker) -> Path:
    return make_bundle(files=FILES)


def test_opens_and_hands_out_verified_bytes(root: Path):
    bundle = Bundle.open(root)
    assert bundle.id == sha256((root / "bundle.json").read_bytes())
    assert bundle.root == root
    assert bundle.read("model.onnx") == b"the graph"
    assert bundle.read("goldens/a.bin") == b"golden"
    assert bundle.external_data(bundle.manifest.chain[0]) == {}


def test_released_bytes_are_verified_again(root: Path):
    bundle = Bundle.open(root)
    bundle.release()
    assert bundle.read("model.onnx") == b"the graph"
    bundle.release()
    (root / "model.onnx").write_bytes(b"THE graph")
    with pytest.raises(BundleIntegrityError, match="SHA-256"):
        bundle.read("model.onnx")


def test_model_bytes_are_those_that_were_checked(root: Path):
    bundle = Bundle.open(root)
    (root / "model.onnx").write_bytes(b"THE graph")
    assert bundle.read("model.onnx") == b"the graph"


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def replace_by_link(path: Path) -> None:
    real = path.with_suffix(".real")
    path.rename(real)
    path.symlink_to(real.name)


def link_parent(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed byte": (flip_byte, "SHA-256"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, the manifest says"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes, the manifest says"),
    "missing": (lambda path: path.unlink(), "missing"),
    "symbolic link": (replace_by_link, "symbolic link"),
    "pipe": (make_pipe, "not a regular file"),
    "folder": (make_folder, "not a regular file"),
}


@pytest.mark.parametrize("file", list(FILES))
@pytest.mark.parametrize("how", list(TAMPERINGS))
def test_tampered_file_is_refused_by_name(root: Path, file: str, how: str):
    tamper, message = TAMPERINGS[how]
    tamper(root / file)
    with pytest.raises(BundleIntegrityError, match=message) as caught:
        Bundle.open(root)
    assert file in str(caught.value)


def test_linked_folder_is_refused(root: Path):
    link_parent(root / "goldens/a.bin")
    with pytest.raises(BundleIntegrityError, match="goldens: is a symbolic link"):
        Bundle.open(root)


def test_file_as_folder_is_missing(root: Path):
    (root / "goldens/a.bin").unlink()
    (root / "goldens").rmdir()
    (root / "goldens").write_text("")
    with pytest.raises(BundleIntegrityError, match="missing"):
        Bundle.open(root)


def test_hard_links_are_fine(root: Path, tmp_path: Path):
    os.link(root / "model.onnx", tmp_path / "cache")
    assert Bundle.open(root).read("model.onnx") == b"the graph"


def test_weights_are_mapped_from_the_file_that_was_checked(make_bundle: BundleMaker):
    files = FILES | {"a.data": ("model_data", b"weights"), "b.data": ("model_data", b"more"), "c": ("artifact", b"")}
    root = make_bundle(files=files)
    bundle = Bundle.open(root)
    (root / "new").write_bytes(b"WEIGHTS")
    (root / "new").replace(root / "a.data")
    data = bundle.external_data(bundle.manifest.chain[0])
    assert {name: bytes(content) for name, content in data.items()} == {"a.data": b"weights", "b.data": b"more"}
    assert all(content.readonly for content in data.values())
    assert bytes(bundle.buffer("c")) == b""
    bundle.release()  # what was handed out stays; what is asked for again is verified again
    assert bytes(data["a.data"]) == b"weights"
    with pytest.raises(BundleIntegrityError, match=r"a\.data.*SHA-256"):
        bundle.buffer("a.data")


def test_outside_names_of_a_stage_in_a_folder(make_bundle: BundleMaker):
    files = {"net/model.onnx": ("model", b"g"), "net/w": ("model_data", b"w"), "v": ("model_data", b"v")}
    bundle = Bundle.open(make_bundle(lambda m: m["model"].update(path="net/model.onnx"), files))
    assert set(bundle.external_data(bundle.manifest.chain[0])) == {"w", "../v"}


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/hostname", "goldens/../../outside.onnx"])
def test_paths_outside_are_refused(make_bundle: BundleMaker, tmp_path: Path, path: str):
    (tmp_path / "outside.onnx").write_bytes(b"the graph")

    def change(manifest: dict[str, Any]) -> None:
        manifest["model"]["path"] = manifest["files"][0]["path"] = path

    with pytest.raises(BundleSchemaError, match="inside the bundle"):
        Bundle.open(make_bundle(change, FILES))


def test_manifest_problems(root: Path):
    text = (root / "bundle.json").read_text()
    (root / "bundle.json").write_text(text.replace("bundle/1.0", "bundle/2.0"))
    with pytest.raises(BundleSchemaError, match="major"):
        Bundle.open(root)
    (root / "bundle.json").write_text(text[: len(text) // 2])
    with pytest.raises(BundleSchemaError, match="truncated"):
        Bundle.open(root)
    (root / "bundle.json").write_text(text + " " * (1 << 20))
    with pytest.raises(BundleSchemaError, match="larger than"):
        Bundle.open(root)
    (root / "bundle.json").unlink()
    with pytest.raises(BundleIntegrityError, match=r"bundle\.json: missing"):
        Bundle.open(root)
    (root / "bundle.json").symlink_to("/etc/hostname")
    with pytest.raises(BundleIntegrityError, match="symbolic link"):
        Bundle.open(root)


def test_no_folder(tmp_path: Path):
    with pytest.raises(BundleIOError, match="no such bundle folder"):
        Bundle.open(tmp_path / "nothing")


def test_unlisted_file_is_not_read(root: Path):
    (root / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleIntegrityError, match=r"'extra\.bin' is not listed"):
        Bundle.open(root).read("extra.bin")


def test_unreadable_file_is_an_io_error(root: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.open

    def refuse(path: Any, *args: Any) -> int:
        if str(path).endswith("model.onnx"):
            raise PermissionError("not yours")
        return real(path, *args)

    monkeypatch.setattr(bundle_module.os, "open", refuse)
    with pytest.raises(BundleIOError, match=r"model\.onnx.*not yours"):
        Bundle.open(root)


def test_failing_disk_is_an_io_error(root: Path):
    class Failing:
        def read(self, count: int) -> bytes:
            raise OSError("disk")

    with pytest.raises(BundleIOError, match=r"x: cannot be read: disk"):
        bundle_module._read(Failing(), 1, Path("x"))  # pyright: ignore[reportArgumentType]


def test_default_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundle_module, "__file__", str(tmp_path / "bundle.py"))
    with pytest.raises(BundleError, match="no embedded model"):
        default_bundle_path()
    with pytest.raises(BundleError, match="no embedded model"):
        Bundle.open()
    place = tmp_path / "models" / "gen2seg-tiny"
    place.mkdir(parents=True)
    (place / "bundle.json").write_text(json.dumps({}))
    assert default_bundle_path() == place
