"""MAE specialised for export equals transformers' own network, and its graph holds nothing of the shuffle."""

from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from gen2seg.backbones.mae import load_mae, mae_config, random_mae, save_mae
from gen2seg_export.cost import measure_cost
from gen2seg_export.errors import ExportError
from gen2seg_export.families.mae import open_mae
from gen2seg_export.model import ExportModel
from gen2seg_export.onnx_graph import GraphSpec, write_graph
from gen2seg_export.specialize.vit_mae import SpecializedMae
from gen2seg_runtime.manifest import InputSpec, LicenceInfo, OutputSpec, PromptSpec, WeightsInfo

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 24,
    "patch_size": 8,
    "decoder_num_attention_heads": 2,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 2,
    "decoder_intermediate_size": 40,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "no bias in attention": {"qkv_bias": False},
    "other activation and epsilon": {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "one patch": {"image_size": 8},
    "patches of 14": {"image_size": 42, "patch_size": 14},
}
RTOL = 1e-4  # of the largest value; what export promises


def picture(side: int = 24, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


def relative(found: Any, expected: torch.Tensor) -> float:
    return float((torch.as_tensor(found) - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def model() -> ExportModel:
    return open_mae("mae-b", random_weights=True, architecture=SMALL, seed=3)


@pytest.fixture(scope="module")
def graph(model: ExportModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "network.onnx"
    write_graph(model.stages[0].module, GraphSpec(stride=8, size=(24, 24)), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_specialized_equals_the_library(variant: dict[str, Any], tmp_path: Path) -> None:
    """The golden is made by transformers from a checkpoint that it loads itself."""
    net = random_mae(mae_config("mae-b", {**SMALL, **variant})).net
    save_mae(net, tmp_path / "mae")
    library = ViTMAEForPreTraining.from_pretrained(tmp_path / "mae").eval()
    x = picture(net.config.image_size)
    torch.manual_seed(11)  # a shuffle of the library's own
    expected = library.unpatchify(library(pixel_values=x).logits)
    found = SpecializedMae(load_mae(tmp_path / "mae").net).eval()(x)
    assert relative(found, expected) < RTOL
    assert relative(found + 0.01 * expected.abs().max(), expected) > RTOL  # the measure sees a fault


@torch.no_grad()
def test_every_weight_takes_part() -> None:
    """Each tensor of the library's that is said to matter changes the specialised network, too."""
    source = random_mae(mae_config("mae-b", SMALL)).net
    before = SpecializedMae(source)(picture())
    generator = torch.Generator().manual_seed(1)
    idle = {"decoder.mask_token"}  # no patch is masked
    for name, parameter in source.model.named_parameters():
        kept = parameter.clone()
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        changed = relative(SpecializedMae(source)(picture()), before)
        parameter.copy_(kept)
        if name in idle or name.endswith(("k_proj.bias", "key.bias")):  # softmax does not see these
            assert changed < 1e-6, name
        else:
            assert changed > 1e-6, name


def test_graph_has_no_shuffle(graph: Path) -> None:
    found = Counter(node.op_type for node in onnx.load(graph).graph.node)
    # No TopK, Gather, GatherElements, ScatterND, Expand, Where, Shape: nothing depends on values or batch size.
    allowed = {"Conv", "Reshape", "Transpose", "Pad", "Add", "LayerNormalization", "MatMul", "Gemm", "Split"}
    allowed |= {"Softmax", "Div", "Erf", "Mul", "Gelu", "Slice"}
    assert set(found) <= allowed
    assert found["Pad"] == found["Slice"] == found["Conv"] == 1


def test_graph_equals_the_reference(graph: Path, model: ExportModel) -> None:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    x = picture(count=1)
    assert relative(session.run(None, {"image": x.numpy()})[0], model.reference(x)["network"]) < RTOL


def test_reference_leaves_the_random_state(model: ExportModel) -> None:
    before = torch.get_rng_state()
    first = model.reference(picture())["network"]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.reference(picture())["network"], first)


def test_model_says_what_the_bundle_needs(model: ExportModel) -> None:
    assert [stage.name for stage in model.stages] == ["network"]
    assert model.weights.state == "untrained"
    assert (model.output.normalization, model.output.gamma, model.output.range) == ("mae", 0.7, None)
    assert model.prompt.mode == "reference"
    assert model.input.buckets == ((24, 24),)
    assert model.folded["mask_ratio"] == 0
    assert model.before is not None
    assert model.after is not None
    assert model.after.parameters < model.before.parameters == model.weights.parameters
    assert model.after.flops <= model.before.flops
    for record in (model.input, model.output, model.prompt, model.weights, model.licence):
        assert isinstance(record, InputSpec | OutputSpec | PromptSpec | WeightsInfo | LicenceInfo)


def test_cost_of_one_layer_by_hand() -> None:
    layer = torch.nn.Conv2d(3, 5, 2, 2, bias=False)
    cost = measure_cost(layer, [layer, layer], (8, 6))
    assert (cost.parameters, cost.bytes) == (60, 240)
    assert cost.flops == 2 * 60 * 4 * 3  # each weight once for each of 4 x 3 places


def test_checkpoints_say_their_licence_and_their_size(tmp_path: Path) -> None:
    net = random_mae(mae_config("mae-b", SMALL)).net
    save_mae(net, tmp_path / "mae")
    model = open_mae("mae-b", tmp_path / "mae")
    assert model.weights.state == "trained"
    assert model.licence.weights == "CC-BY-NC-4.0"
    assert any("Non-commercial" in limit for limit in model.licence.use_limits)
    assert any("another network than the usual mae-b" in warning for warning in model.warnings)
    assert str(tmp_path) not in model.weights.source
    assert relative(model.stages[0].module(picture()), model.reference(picture())["network"]) < RTOL


def test_the_other_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("gen2seg.backbones.mae", fromlist=["x"]).ARCHITECTURES, "mae-h", SMALL)
    save_mae(random_mae(mae_config("mae-b", SMALL)).net, tmp_path / "mae")
    with pytest.raises(ExportError, match="describes mae-h, not mae-b: hidden_size is 32, not 768"):
        open_mae("mae-b", tmp_path / "mae")


def test_arguments_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no published weights"):
        open_mae("mae-b")
    with pytest.raises(ExportError, match="exclude each other"):
        open_mae("mae-b", tmp_path, random_weights=True)
    with pytest.raises(ExportError, match="architecture is for random weights"):
        open_mae("mae-b", tmp_path, architecture=SMALL)
    with pytest.raises(ExportError, match="24x24 only"):
        open_mae("mae-b", random_weights=True, architecture=SMALL, sizes=[(24, 24), (48, 48)])
    with pytest.raises(ExportError, match="hidden_act must be one of"):
        open_mae("mae-b", random_weights=True, architecture={**SMALL, "hidden_act": "tanh"})


def test_usual_sizes_are_those_of_the_hub() -> None:
    """Numbers of facebook/vit-mae-base and facebook/vit-mae-huge."""
    for name, expected in (("mae-b", 111_907_840), ("mae-h", 657_074_508)):
        with torch.device("meta"):
            config = mae_config(name)
            net = ViTMAEForPreTraining(ViTMAEConfig(**{key: getattr(config, key) for key in SMALL}))
        assert sum(parameter.numel() for parameter in net.parameters()) == expected
