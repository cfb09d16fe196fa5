"""Pages that describe a contract name all of it: a new field, error or option must be written down."""

import dataclasses
import re
from typing import Any

import pytest

from gen2seg_runtime import errors, io_spec, manifest
from gen2seg_runtime.backends.registry import BACKENDS
from gen2seg_runtime.colors import _RULES as NORMALIZATIONS

from .doc_blocks import ROOT

RECORDS = [
    manifest.Manifest,
    manifest.WeightsInfo,
    manifest.LicenceInfo,
    manifest.ModelSpec,
    manifest.PromptSpec,
    manifest.InstanceSpec,
    manifest.PrecisionSpec,
    manifest.StageSpec,
    manifest.FileRecord,
    manifest.GoldenRecord,
    io_spec.InputSpec,
    io_spec.ResizeSpec,
    io_spec.PadSpec,
    io_spec.OutputSpec,
]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_the_bundle_page_names_every_field(record: Any) -> None:
    words = set(re.findall(r"\w+", page("bundle-format.md")))
    missing = [field.name for field in dataclasses.fields(record) if field.name not in words]
    assert [name for name in missing if name != "extra"] == []


def test_the_bundle_page_names_every_choice() -> None:
    words = set(re.findall(r"`([\w ]+)`", page("bundle-format.md")))
    roles = {"model", "model_data", "artifact", "golden", "kernel"}
    rules = {"longest_side", "fit", "fixed"}
    assert roles | rules | {*io_spec.INTERPOLATIONS, *io_spec.ROUNDINGS, *NORMALIZATIONS} <= words
    assert f"{manifest.MAX_MANIFEST_BYTES >> 20} MiB" in page("bundle-format.md")
    assert manifest.SCHEMA in page("bundle-format.md")


def test_the_embedding_page_names_every_error_and_variable() -> None:
    text = page("embedding.md")
    names = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert [name for name in names if name not in text] == []
    sources = [*(ROOT / "runtime").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]
    found = {name for path in sources for name in re.findall(r'"(GEN2SEG_[A-Z_]+)"', path.read_text(encoding="utf-8"))}
    assert found
    assert [name for name in sorted(found) if f"`{name}`" not in text] == []


def test_the_backends_page_names_every_backend_option_and_command() -> None:
    text = page("backends.md")
    for name, spec in BACKENDS.items():
        assert f"`{name}`" in text
        if name != "onnxruntime":  # which is the core
            assert spec.install in text
        for option in spec.options:
            assert re.search(rf"`{option}\b|[{{]\"{option}\"", text), (name, option)
