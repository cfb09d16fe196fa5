"""Group norms that ONNX Runtime sums row by row: the same function, closer to float64 where groups are large."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from gen2seg_export.onnx_graph import GraphSpec, write_graph
from gen2seg_export.precision.pairwise import pairwise_norms


def _graph(folder: Path, size: tuple[int, int] | None, affine: bool = True) -> tuple[nn.Module, onnx.ModelProto]:
    torch.manual_seed(1)
    norm = nn.GroupNorm(2, 6, eps=1e-3, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    module = nn.Sequential(nn.Conv2d(3, 6, 1), norm, nn.SiLU()).eval()
    write_graph(module, GraphSpec(stride=1, size=size), folder / "graph.onnx")
    return module, onnx.load(folder / "graph.onnx")


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": x})[0])


@torch.no_grad()
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", [(7, 13), None], ids=["fixed", "free"])
def test_equals_torch(size: tuple[int, int] | None, affine: bool, tmp_path: Path):
    module, model = _graph(tmp_path, size, affine)
    assert pairwise_norms(model) == 1
    assert not any(node.op_type == "InstanceNormalization" for node in model.graph.node)
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 13)).astype(np.float32)
    wanted = module.double()(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(_run(model, x), wanted, rtol=1e-4, atol=2e-6)


@torch.no_grad()
def test_large_groups_lose_nothing(tmp_path: Path):
    """As in the VAE at 480x640: ONNX Runtime's own sum over such a group is off by far more than a roundoff."""
    module, model = _graph(tmp_path, (640, 640))
    x = (3 + np.random.default_rng(0).standard_normal((1, 3, 640, 640))).astype(np.float32)
    plain = _run(model, x)
    pairwise_norms(model)
    wanted = module.double()(torch.from_numpy(x).double()).numpy()
    error = [np.abs(found - wanted).max() / np.abs(wanted).max() for found in (plain, _run(model, x))]
    assert error[1] < 2e-6
    assert error[1] < error[0]


def test_other_norms_are_left_alone(tmp_path: Path):
    module = nn.Sequential(nn.InstanceNorm2d(3, affine=True)).eval()
    write_graph(module, GraphSpec(stride=1, size=(8, 8)), tmp_path / "graph.onnx")
    model = onnx.load(tmp_path / "graph.onnx")
    before = model.SerializeToString(deterministic=True)
    assert pairwise_norms(model) == 0
    assert model.SerializeToString(deterministic=True) == before
