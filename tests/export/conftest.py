"""One small network, exported once, for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from gen2seg_export import parity, pipeline
from gen2seg_export.onnx_graph import export_graph
from gen2seg_export.pipeline import ExportReport, export_bundle
from gen2seg_export.source import Source, random_source

ARCHITECTURE: dict[str, Any] = {
    "full_channels": 4,
    "half_channels": 8,
    "channels": [16, 24, 32, 48],
    "heads": 2,
    "attention_layers": 1,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def architecture() -> dict[str, Any]:
    return ARCHITECTURE


@pytest.fixture(scope="session")
def source() -> Source:
    return random_source("tiny", ARCHITECTURE)


@pytest.fixture(scope="session")
def graph(source: Source) -> onnx.ModelProto:
    """The network as a float32 graph with free sizes."""
    return export_graph(source.module)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, graph: onnx.ModelProto) -> ExportReport:
    """A whole export with float16 weights; only the tracing is not repeated."""
    output = tmp_path_factory.mktemp("exported") / "tiny-fp16"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GEN2SEG_DATA", raising=False)
        patch.setattr(pipeline, "export_graph", lambda _module, _spec: graph)
        return export_bundle(output, random_weights=True, architecture=ARCHITECTURE, fp16=True, threads=1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> dict[str, Any]:
    """Arguments for `export_bundle` that skip the slow parts: tracing, the large scenes and probes, the measurement.

    The same network as `graph`; a test may patch `pipeline.export_graph` again to plant a fault.
    """
    monkeypatch.delenv("GEN2SEG_DATA", raising=False)
    monkeypatch.setattr(pipeline, "export_graph", lambda _module, _spec: graph)
    monkeypatch.setattr(pipeline, "verification_scenes", lambda: pipeline.control_scenes())
    monkeypatch.setattr(parity, "PROBE_SHAPES", ((1, 32, 32),))
    monkeypatch.setattr(pipeline, "measure_resources", lambda _root, _threads: {"skipped": True})
    return {"random_weights": True, "architecture": ARCHITECTURE, "threads": 1}


@pytest.fixture
def checkpoint(tmp_path: Path, source: Source) -> Path:
    """The same network as a checkpoint folder that says it was trained."""
    from gen2seg.training.checkpoint import save_weights

    folder = tmp_path / "checkpoint"
    config = {
        "backbone": "tiny",
        "architecture": ARCHITECTURE,
        "training": {"step": 1200},
        "metadata": {"bundle_defaults": {"size": 512, "enlarge_below": 256, "distance": 33}},
    }
    save_weights(source.module, folder, config)
    return folder
