"""Small networks, exported once, for all tests of this folder."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from gen2seg_export import cases, onnx_graph, pipeline, registry
from gen2seg_export import stages as stages_module
from gen2seg_export.onnx_graph import export_graph, perturb_weight
from gen2seg_export.pipeline import ExportReport, export_bundle
from gen2seg_export.source import Source, random_source

from . import chain

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


def put_graph(patch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> None:
    """Let the export find this graph in place of tracing the network."""
    patch.setattr(stages_module, "write_graph", lambda _module, _spec, path: onnx_graph.save_graph(graph, path))


def perturbed(graph: onnx.ModelProto, name: str, strength: float = 0.5) -> onnx.ModelProto:
    """A copy of the graph with noise on one weight."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    perturb_weight(copy, name, strength, Path())
    return copy


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, graph: onnx.ModelProto) -> ExportReport:
    """A whole export with float16 weights; only the tracing is not repeated."""
    output = tmp_path_factory.mktemp("exported") / "tiny-fp16"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GEN2SEG_DATA", raising=False)
        put_graph(patch, graph)
        return export_bundle(output, random_weights=True, architecture=ARCHITECTURE, precision="fp16", threads=1)


def skip_slow_parts(patch: pytest.MonkeyPatch) -> None:
    """Two small pictures, one probe, no measurement."""
    patch.delenv("GEN2SEG_DATA", raising=False)
    patch.setattr(cases, "verification_scenes", lambda: [])
    patch.setattr(cases, "PROBE_SHAPES", ((1, 1, 1),))
    patch.setattr(pipeline, "measure_resources", lambda _root, _threads: {"skipped": True})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> dict[str, Any]:
    """Arguments for `export_bundle` that skip the slow parts: tracing, most pictures and probes, the measurement.

    The same network as `graph`; a test may call `put_graph` again to plant a fault.
    """
    skip_slow_parts(monkeypatch)
    put_graph(monkeypatch, graph)
    return {"random_weights": True, "architecture": ARCHITECTURE, "threads": 1, "max_images": 2}


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


def register_chain(patch: pytest.MonkeyPatch) -> None:
    """Make the backbone "chain" known to the exporter."""
    patch.setitem(sys.modules, "gen2seg_test_chain", chain)
    patch.setitem(registry.FAMILIES, "chain", registry.Family("gen2seg_test_chain", "open_chain", "toy-chain"))


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments for `export_bundle` of the two-stage backbone, its weights outside its graphs."""
    skip_slow_parts(monkeypatch)
    register_chain(monkeypatch)
    monkeypatch.setattr(onnx_graph, "EXTERNAL_ABOVE", 0)
    return {"backbone": "chain", "random_weights": True, "threads": 1, "max_images": 2}


@pytest.fixture(scope="session")
def chain_report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The two-stage backbone as a float32 bundle with a file of weights for each stage."""
    output = tmp_path_factory.mktemp("chain") / "b"
    with pytest.MonkeyPatch.context() as patch:
        skip_slow_parts(patch)
        register_chain(patch)
        patch.setattr(onnx_graph, "EXTERNAL_ABOVE", 0)
        return export_bundle(output, backbone="chain", random_weights=True, threads=1, max_images=2)
