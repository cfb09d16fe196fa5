from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from gen2seg_export import onnx_graph
from gen2seg_export.errors import ExportError
from gen2seg_export.external_data import external_files
from gen2seg_export.onnx_graph import GraphSpec, export_graph, large_weights, write_graph
from gen2seg_export.source import Source

from .conftest import perturbed

# None of these sizes was seen by the tracer, and 32x32 has a single cell at the coarsest level.
SIZES = [(1, 32, 32), (1, 64, 96), (3, 128, 64), (1, 384, 512), (1, 96, 2048), (2, 416, 32)]


class _Toy(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _SizeBound(nn.Module):
    """Looks at the size with Python: right for the traced size only, so the exporter must refuse it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] == 96:
            return x
        return x * 2


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return _session(graph)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_graph_equals_network_at_every_size(
    size: tuple[int, int, int], source: Source, session: onnxruntime.InferenceSession
):
    x = torch.randn(size[0], 3, *size[1:], generator=torch.Generator().manual_seed(sum(size)))
    with torch.no_grad():
        expected = source.module(x).numpy()
    got = np.asarray(session.run(["colors"], {"image": x.numpy()})[0])
    assert got.shape == expected.shape
    assert expected.std() > 1  # a constant output would prove nothing
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-3)


def test_graph_tells_its_free_sizes(graph: onnx.ModelProto):
    assert graph.opset_import[0].version == onnx_graph.OPSET
    for value, name in ((graph.graph.input[0], "image"), (graph.graph.output[0], "colors")):
        assert value.name == name
        dims = value.type.tensor_type.shape.dim
        assert [d.dim_param for d in dims] == ["batch", "", "height", "width"]
        assert dims[1].dim_value == 3


def test_graph_holds_nothing_of_the_exporting_machine(graph: onnx.ModelProto):
    content = graph.SerializeToString()
    assert onnx_graph.__file__.encode() not in content
    for trace in (b"site-packages", b".py", b"stack_trace", b"/home", b"/tmp"):
        assert trace not in content


def test_fixed_size_is_in_the_graph():
    module = _Toy().eval()
    model = export_graph(module, GraphSpec(size=(64, 32)))
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [d.dim_value for d in dims[1:]] == [3, 64, 32]
    x = np.random.default_rng(0).standard_normal((3, 3, 64, 32)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    got = np.asarray(_session(model).run(None, {"image": x})[0])
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 65), (0, 32), (-32, 32)], ids=str)
def test_fixed_size_must_fit_the_stride(size: tuple[int, int]):
    with pytest.raises(ExportError, match="multiples of 32"):
        GraphSpec(size=size)


def test_perturbing_changes_one_weight_only(graph: onnx.ModelProto):
    name = large_weights(graph)[1]
    changed = perturbed(graph, name)
    different = [
        a.name
        for a, b in zip(graph.graph.initializer, changed.graph.initializer, strict=True)
        if a.SerializeToString() != b.SerializeToString()
    ]
    assert different == [name]
    with pytest.raises(ExportError, match="no-such"):
        perturbed(graph, "no-such")


def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = _Toy().eval()
    inside, beside = tmp_path / "inside.onnx", tmp_path / "beside.onnx"
    write_graph(module, GraphSpec(size=(32, 64)), inside)
    monkeypatch.setattr(onnx_graph, "EXTERNAL_ABOVE", 0)
    write_graph(module, GraphSpec(size=(32, 64)), beside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.onnx", "beside.onnx.data", "inside.onnx"]
    assert external_files(onnx.load(beside, load_external_data=False)) == ("beside.onnx.data",)
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 64)).astype(np.float32)
    first, second = (
        np.asarray(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": x})[0])
        for path in (inside, beside)
    )
    np.testing.assert_array_equal(first, second)
    again = tmp_path / "again.onnx"
    write_graph(module, GraphSpec(size=(32, 64)), again)
    assert again.with_name("again.onnx.data").read_bytes() == beside.with_name("beside.onnx.data").read_bytes()


def test_refuses_a_network_that_is_not_ready():
    with pytest.raises(ExportError, match="eval mode"):
        export_graph(_Toy().train())
    with pytest.raises(ExportError, match=r"conv\.weight must be float32, got torch\.float16"):
        export_graph(_Toy(torch.float16).eval())
    broken = _Toy().eval()
    with torch.no_grad():
        broken.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ExportError, match=r"conv\.weight holds NaN"):
        export_graph(broken)


def test_refuses_a_network_bound_to_one_size():
    with pytest.raises(ExportError, match="cannot be written as ONNX"):
        export_graph(_SizeBound().eval())


def test_checker_refuses_a_broken_graph(graph: onnx.ModelProto, tmp_path: Path):
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    broken.graph.node[5].op_type = "NoSuchOperator"
    onnx_graph.save_graph(broken, tmp_path / "broken.onnx")
    with pytest.raises(ExportError, match=r"checker refuses broken\.onnx"):
        onnx_graph.check_graph(tmp_path / "broken.onnx")
