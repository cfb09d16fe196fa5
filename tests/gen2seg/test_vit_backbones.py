"""mae-b, mae-h and dino-b on small random configurations, against the libraries that define them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEForPreTraining

from gen2seg.backbones import BACKBONES, BackboneError, get_backbone
from gen2seg.backbones.dino import DinoNet, build_dino, dino_config, load_dino, random_dino, save_dino, start_dino
from gen2seg.backbones.mae import MaeNet, hub_name, load_mae, mae_config, random_mae, save_mae
from gen2seg.backbones.vit_images import IMAGENET_MEAN, IMAGENET_STD, ImageRule, read_image_rule
from gen2seg.errors import (
    CheckpointError,
    LayoutError,
    MissingFileError,
    MissingTensorError,
    TensorShapeError,
    UnexpectedTensorError,
)
from gen2seg_runtime.errors import OutputExistsError

# An odd number of patches a side, and heads of another width in the decoder.
MAE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 24,
    "patch_size": 8,
    "decoder_num_attention_heads": 2,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 40,
}
VAE: dict[str, Any] = {
    "block_out_channels": [8, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
VIT: dict[str, Any] = {"image_size": 24, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
DINO: dict[str, Any] = {**VIT, "vae": VAE}
ARCHITECTURES = {"mae-b": MAE, "mae-h": MAE, "dino-b": DINO}


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def mae_folder(tmp_path: Path) -> Path:
    """A checkpoint as the library writes it, not fine-tuned."""
    torch.manual_seed(1)
    folder = tmp_path / "mae"
    ViTMAEForPreTraining(ViTMAEConfig(**MAE)).save_pretrained(folder)
    size = {"height": 24, "width": 24}
    processor = ViTImageProcessor(image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD), size=size)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def dino_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dino"
    save_dino(random_dino(DINO).net, folder, state="untrained")
    return folder


def edit(folder: Path, changes: dict[str, Any], name: str = "config.json") -> None:
    path = folder / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def edit_tensors(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@torch.no_grad()
def library_mae(folder: Path, picture: torch.Tensor) -> torch.Tensor:
    model = ViTMAEForPreTraining.from_pretrained(folder).eval()
    model.config.mask_ratio = 0.0
    return model.unpatchify(model(pixel_values=picture).logits)


# MAE


@torch.no_grad()
def test_mae_is_the_library_s_network_without_a_mask(mae_folder: Path, picture: torch.Tensor) -> None:
    checkpoint = load_mae(mae_folder)
    torch.testing.assert_close(checkpoint.net(picture), library_mae(mae_folder, picture), rtol=1e-5, atol=1e-6)
    assert checkpoint.image == ImageRule(24)
    assert checkpoint.state == "trained"


def test_mae_pretraining_settings_are_named(mae_folder: Path) -> None:
    edit(mae_folder, {"norm_pix_loss": True})
    (mae_folder / "preprocessor_config.json").unlink()
    warnings = " ".join(load_mae(mae_folder).warnings)
    for expected in ("mask_ratio 0.75", "norm_pix_loss", "preprocessor_config.json"):
        assert expected in warnings


@torch.no_grad()
def test_mae_is_written_as_the_original_scripts_read_it(tmp_path: Path, picture: torch.Tensor) -> None:
    source = random_mae(mae_config("mae-b", MAE))
    folder = tmp_path / "saved"
    save_mae(source.net, folder, state="untrained")
    names = set(load_file(folder / "model.safetensors"))
    # Spelled as in facebook/vit-mae-base; transformers of any version reads these.
    assert "vit.encoder.layer.1.attention.attention.query.weight" in names
    assert "decoder.decoder_layers.0.attention.output.dense.bias" in names
    assert "decoder.decoder_layers.0.intermediate.dense.weight" in names
    loaded: Any = ViTMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    report = loaded[1]
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert json.loads((folder / "config.json").read_text())["mask_ratio"] == 0
    assert tuple(ViTImageProcessor.from_pretrained(folder).image_mean) == IMAGENET_MEAN

    torch.testing.assert_close(source.net(picture), library_mae(folder, picture), rtol=1e-5, atol=1e-6)
    back = load_mae(folder)
    assert torch.equal(back.net(picture), source.net(picture))
    assert (back.state, back.warnings) == ("untrained", ())
    with pytest.raises(OutputExistsError):
        save_mae(source.net, folder)


@pytest.mark.parametrize(
    "name",
    [
        "decoder.decoder_layers.3.attention.attention.key.weight",
        "decoder.decoder_layers.3.attention.k_proj.weight",
        "decoder.decoder_encoder.layer.3.attention.attention.key.weight",
    ],
)
def test_every_spelling_of_a_tensor_is_one_name(name: str) -> None:
    assert hub_name(name) == "decoder.decoder_layers.3.attention.attention.key.weight"


def test_mae_can_be_trained(picture: torch.Tensor) -> None:
    net = random_mae(mae_config("mae-b", MAE)).net.train()
    net(picture).square().mean().backward()
    still = {"decoder.mask_token", "decoder.decoder_pos_embed", "vit.embeddings.position_embeddings"}
    for name, parameter in net.model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.any())
        assert moved != (name in still), name


def test_mae_random_weights_follow_the_seed_only() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (random_mae(mae_config("mae-b", MAE), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.sha256 == second.sha256 != other.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "model_type must be vit_mae"),
        ({"image_size": [24, 24]}, "image_size must be int"),
        ({"patch_size": 7}, "multiple of patch_size 7"),
        ({"num_channels": 1}, "num_channels must be 3"),
        ({"num_attention_heads": 5}, "its 5 heads"),
        ({"hidden_act": "softsign?"}, "hidden_act"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be positive"),
        ({"qkv_bias": "yes"}, "qkv_bias must be bool"),
    ],
)
def test_mae_refuses_a_wrong_config(mae_folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(mae_folder, changes)
    with pytest.raises(LayoutError, match=message) as error:
        load_mae(mae_folder)
    assert "config.json" in str(error.value)


def test_mae_refuses_wrong_tensors(mae_folder: Path) -> None:
    edit_tensors(mae_folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(UnexpectedTensorError, match="extra"):
        load_mae(mae_folder)
    edit_tensors(mae_folder, lambda tensors: tensors.pop("extra"))
    edit(mae_folder, {"intermediate_size": 56})
    with pytest.raises(TensorShapeError, match="56"):
        load_mae(mae_folder)
    edit(mae_folder, {"intermediate_size": 48, "num_hidden_layers": 3})
    with pytest.raises(MissingTensorError, match=r"layers?\.2\."):
        load_mae(mae_folder)


def test_mae_reads_pickles_only_when_told(mae_folder: Path, picture: torch.Tensor) -> None:
    tensors = load_file(mae_folder / "model.safetensors")
    (mae_folder / "model.safetensors").unlink()
    torch.save(tensors, mae_folder / "pytorch_model.bin")
    with pytest.raises(MissingFileError, match="allow-pickle"):
        load_mae(mae_folder)
    assert load_mae(mae_folder, allow_pickle=True).net(picture).shape == picture.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_processor_type": "BitImageProcessor"}, "image_processor_type"),
        ({"resample": 3}, "resample must be 2"),
        ({"do_resize": False}, "do_resize"),
        ({"do_center_crop": True}, "do_center_crop"),
        ({"size": {"shortest_edge": 24}}, "size must be one number"),
        ({"size": {"height": 32, "width": 32}}, "size must be 24"),
        ({"image_std": [1, 0, 1]}, "image_std must be positive"),
        ({"image_mean": [1, 2]}, "image_mean must be 3 numbers"),
        ({"do_rescale": "no"}, "do_rescale must be true or false"),
        ({"rescale_factor": -1}, "rescale_factor must be positive"),
    ],
)
def test_an_image_processor_that_cannot_be_repeated_is_refused(
    mae_folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(mae_folder, changes, "preprocessor_config.json")
    with pytest.raises(LayoutError, match=message):
        load_mae(mae_folder)


def test_missing_keys_of_an_image_processor_are_the_library_s() -> None:
    rule = read_image_rule({}, 224, "here")
    library = ViTImageProcessor()
    assert rule.mean == tuple(library.image_mean)
    assert rule.std == tuple(library.image_std)
    assert rule == read_image_rule({"feature_extractor_type": "ViTFeatureExtractor", "size": 224}, 224, "here")
    bare = read_image_rule({"do_normalize": False, "do_rescale": False}, 224, "here")
    assert bare == ImageRule(224, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)
    assert read_image_rule(rule.processor_config(), 224, "here") == rule


# DINO


@torch.no_grad()
def test_dino_is_the_libraries_parts_in_a_row(picture: torch.Tensor) -> None:
    net = random_dino(DINO).net
    vit = timm.create_model(
        "vit_base_patch16_224.dino", img_size=24, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0
    ).eval()
    vit.load_state_dict(net.backbone.state_dict())
    patches = vit.forward_features(picture)[:, 1:]  # type: ignore[operator]
    up = torch.nn.ConvTranspose2d(32, 4, 2, stride=2)
    up.load_state_dict(net.up.state_dict())
    latent = up(patches.transpose(1, 2).reshape(2, 32, 3, 3))
    vae: Any = net.vae
    expected = vae.decode(latent / vae.config.scaling_factor).sample
    torch.testing.assert_close(net(picture), expected, rtol=1e-5, atol=1e-6)
    assert net.latent(picture).shape == (2, 4, 6, 6)


@torch.no_grad()
def test_dino_is_read_back_as_written(dino_folder: Path, picture: torch.Tensor) -> None:
    back = load_dino(dino_folder)
    assert torch.equal(back.net(picture), random_dino(DINO).net(picture))
    assert (back.state, back.image) == ("untrained", ImageRule(24))


def test_dino_trains_everything_but_the_vae(picture: torch.Tensor) -> None:
    net = build_dino(DINO).train()
    assert not net.vae.training
    net(picture).square().mean().backward()
    assert bool(net.up.weight.grad.any())  # type: ignore[union-attr]
    assert bool(net.backbone.patch_embed.proj.weight.grad.any())  # type: ignore[union-attr, operator]
    assert not any(parameter.requires_grad for parameter in net.vae.parameters())


def test_training_starts_from_timm_s_weights_and_an_sd_vae(tmp_path: Path, dino_folder: Path) -> None:
    vit = timm.create_model(
        "vit_base_patch16_224.dino", img_size=24, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=0
    )
    save_for_hf(vit, str(tmp_path / "timm"), safe_serialization=True)
    start = start_dino(tmp_path / "timm", dino_folder / "vae", seed=4)
    assert torch.equal(start.net.backbone.pos_embed, vit.pos_embed)  # type: ignore[arg-type]
    assert start.image == ImageRule(24)
    assert start.state == "untrained"
    assert not torch.equal(
        start.net.up.weight, start_dino(tmp_path / "timm", dino_folder / "vae", seed=5).net.up.weight
    )
    with pytest.raises(LayoutError, match="timm's weights of the ViT alone"):
        load_dino(tmp_path / "timm")
    edit(tmp_path / "timm", {"architecture": "vit_large_patch16_224"})
    with pytest.raises(LayoutError, match="vit_base_patch16_224"):
        start_dino(tmp_path / "timm", dino_folder / "vae")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "model_type must be gen2seg-dino"),
        ({"depth": 2.5}, "depth must be int"),
        ({"num_heads": 3}, "its 3 heads"),
        ({"patch_size": 7}, "multiple of patch_size"),
        ({"width": 4}, "unknown key 'width'"),
        ({"patch_size": 4}, r"48 pixels of 12 latents a side, but the ViT takes 24"),
    ],
)
def test_dino_refuses_a_wrong_config(dino_folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(dino_folder, changes)
    with pytest.raises(LayoutError, match=message):
        load_dino(dino_folder)


def test_dino_refuses_missing_parts(dino_folder: Path) -> None:
    edit_tensors(dino_folder, lambda tensors: tensors.pop("up.bias"))
    with pytest.raises(MissingTensorError, match=r"up\.bias"):
        load_dino(dino_folder)
    (dino_folder / "preprocessor_config.json").unlink()
    with pytest.raises(MissingFileError, match="preprocessor_config"):
        load_dino(dino_folder)
    with pytest.raises(CheckpointError):
        load_dino(dino_folder / "nowhere")


# Registry


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_registered_networks_keep_what_their_record_says(name: str) -> None:
    record = get_backbone(name)
    module = record.build(ARCHITECTURES[name])
    assert isinstance(module, MaeNet | DinoNet)
    rule = ImageRule(224)
    assert (record.mean, record.std) == (rule.mean, rule.std)
    usual = dino_config() if name == "dino-b" else mae_config(name)
    assert record.fixed_size == (usual.image_size, usual.image_size)
    assert record.stride == usual.patch_size
    with pytest.raises(BackboneError, match=f"{name} cannot be built"):
        record.build({"patch_size": 0})


def test_looking_a_backbone_up_loads_no_framework() -> None:
    code = "import sys, gen2seg.backbones as b; b.get_backbone('mae-h'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(ARCHITECTURES) <= set(BACKBONES)
