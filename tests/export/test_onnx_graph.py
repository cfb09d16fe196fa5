import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

from gen2seg_export import onnx_graph
from gen2seg_export.errors import ExportError
from gen2seg_export.onnx_graph import (
    FLOAT16_MAX,
    MIN_ROUNDED_ELEMENTS,
    GraphSpec,
    export_graph,
    large_weights,
    perturb_weight,
    rounded_module,
    store_weights_float16,
)
from gen2seg_export.source import Source

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


def _session(model: onnx.ModelProto, optimized: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if optimized:
        options.optimized_model_filepath = optimized
        # Constant folding alone: later passes write operators of this CPU into the file, and warn.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return _session(graph)


@pytest.fixture(scope="module")
def rounded(graph: onnx.ModelProto) -> onnx.ModelProto:
    return store_weights_float16(graph)


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


def test_float16_halves_the_stored_weights(graph: onnx.ModelProto, rounded: onnx.ModelProto):
    def stored(model: onnx.ModelProto) -> int:
        return sum(tensor.ByteSize() for tensor in model.graph.initializer)

    assert stored(rounded) < 0.54 * stored(graph)
    wide = [
        tensor.name
        for tensor in rounded.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= MIN_ROUNDED_ELEMENTS
    ]
    assert not wide


def test_float16_rounds_values_and_nothing_else(graph: onnx.ModelProto, rounded: onnx.ModelProto):
    before = {t.name: onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    after = {t.name: onnx.numpy_helper.to_array(t) for t in rounded.graph.initializer}
    assert len(before) == len(after)
    for name, value in before.items():
        if f"{name}.float16" in after:
            np.testing.assert_array_equal(after[f"{name}.float16"], value.astype(np.float16))
        else:
            np.testing.assert_array_equal(after[name], value)


def test_float16_computes_in_float32_and_the_runtime_folds_the_casts(
    source: Source, graph: onnx.ModelProto, rounded: onnx.ModelProto, tmp_path
):
    folded_path = str(tmp_path / "folded.onnx")
    session = _session(rounded, folded_path)
    x = np.random.default_rng(1).standard_normal((1, 3, 96, 64)).astype(np.float32)
    got = np.asarray(session.run(None, {"image": x})[0])
    with torch.no_grad():
        expected = rounded_module(source.module)(torch.from_numpy(x)).numpy()
    # Equal to a float32 network with rounded weights: had anything been computed in float16, the
    # difference would be a hundred times larger.
    np.testing.assert_allclose(got, expected, atol=2e-3)
    folded = onnx.load(folded_path)
    constants = {tensor.name for tensor in folded.graph.initializer}
    assert not [n.name for n in folded.graph.node if n.op_type == "Cast" and n.input[0] in constants]
    assert not any(t.data_type == TensorProto.FLOAT16 for t in folded.graph.initializer)


def test_float16_refuses_what_overflows(graph: onnx.ModelProto):
    name = large_weights(graph)[0]
    huge = onnx.ModelProto()
    huge.CopyFrom(graph)
    for tensor in huge.graph.initializer:
        if tensor.name == name:
            value = onnx.numpy_helper.to_array(tensor).copy()
            value.flat[3] = -2 * FLOAT16_MAX
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    with pytest.raises(ExportError, match=f"{name}.*65504"):
        store_weights_float16(huge)


def test_perturbing_changes_one_weight_only(graph: onnx.ModelProto):
    name = large_weights(graph)[1]
    changed = perturb_weight(graph, name, 0.5)
    different = [
        a.name
        for a, b in zip(graph.graph.initializer, changed.graph.initializer, strict=True)
        if a.SerializeToString() != b.SerializeToString()
    ]
    assert different == [name]
    with pytest.raises(ExportError, match="no-such"):
        perturb_weight(graph, "no-such", 0.5)


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


def test_refuses_a_network_above_one_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx_graph, "MAX_MODEL_BYTES", 100)
    with pytest.raises(ExportError, match=r"336 bytes.*no external data"):
        export_graph(_Toy().eval())


def test_refuses_a_network_bound_to_one_size():
    with pytest.raises(ExportError, match="cannot be written as ONNX"):
        export_graph(_SizeBound().eval())


def test_checker_refuses_a_broken_graph(graph: onnx.ModelProto):
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    broken.graph.node[5].op_type = "NoSuchOperator"
    with pytest.raises(ExportError, match="checker refuses"):
        onnx_graph.check_graph(broken)
