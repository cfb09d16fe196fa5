"""`sd2`: read, run and written as diffusers does it, on a small network of the same block types."""

import json
import shutil
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gen2seg.backbones.sd2 import SD2, Sd2Net, load_sd2, load_vae, one_step, random_sd2, random_vae, save_sd2
from gen2seg.backbones.sd2.scheduler import build_scheduler
from gen2seg.errors import LayoutError, MissingFileError, MissingTensorError, TensorShapeError, UnexpectedTensorError

library: Any = diffusers  # its classes are loaded lazily, which type checkers cannot follow
AutoencoderKL, DDIMScheduler, DDPMScheduler = library.AutoencoderKL, library.DDIMScheduler, library.DDPMScheduler
StableDiffusionPipeline, UNet2DConditionModel = library.StableDiffusionPipeline, library.UNet2DConditionModel

SMALL = SD2.updated(
    {
        "unet": {
            "block_out_channels": [16, 32, 32, 32],
            "attention_head_dim": [1, 2, 2, 2],
            "cross_attention_dim": 24,
            "norm_num_groups": 8,
            "layers_per_block": 1,
        },
        "vae": {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1},
    }
)


@pytest.fixture(scope="module")
def text_parts(tmp_path_factory):
    """A text encoder and a tokenizer with the layout and the special tokens of the real ones."""
    folder = tmp_path_factory.mktemp("text")
    words = ["!", "a", "a</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!")
    torch.manual_seed(0)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=3,
            eos_token_id=4,
        )
    ).eval()
    return tokenizer, encoder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, text_parts):
    """A checkpoint written by the libraries alone."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    tokenizer, encoder = text_parts
    tokenizer.save_pretrained(folder / "tokenizer")
    encoder.save_pretrained(folder / "text_encoder")
    UNet2DConditionModel.from_config(SMALL.unet).save_pretrained(folder / "unet")
    vae = {key: value for key, value in SMALL.vae.items() if key != "_class_name"}
    AutoencoderKL.from_config(vae).save_pretrained(folder / "vae")
    DDIMScheduler.from_config(SMALL.scheduler).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture
def changed(checkpoint, tmp_path):
    """A copy of the checkpoint to spoil."""
    return shutil.copytree(checkpoint, tmp_path / "changed")


@pytest.fixture(scope="module")
def picture():
    return torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(2)) * 2 - 1


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@torch.no_grad()
def test_colours_are_those_of_the_libraries(checkpoint, picture, text_parts):
    """The golden: no line of this project computes it."""
    tokenizer, encoder = text_parts
    ids = tokenizer("", padding="do_not_pad", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert ids.shape == (1, 2)
    text = encoder(ids)[0].repeat(2, 1, 1)
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    vae = AutoencoderKL.from_pretrained(checkpoint / "vae")
    scheduler = DDIMScheduler.from_pretrained(checkpoint / "scheduler")
    scheduler.set_timesteps(1)
    latent = vae.encode(picture).latent_dist.mode() * vae.config.scaling_factor
    output = unet(latent, scheduler.timesteps[0], encoder_hidden_states=text).sample
    colours = scheduler.step(output, scheduler.timesteps[0], latent).pred_original_sample
    golden = vae.decode(colours / vae.config.scaling_factor).sample

    found = Sd2Net(load_sd2(checkpoint)).eval()(picture)
    assert golden.std() > 0.05
    torch.testing.assert_close(found, golden, rtol=0, atol=1e-6)


def test_text_of_both_lengths_is_the_encoders(checkpoint, text_parts):
    tokenizer, encoder = text_parts
    padded = tokenizer("", padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    text = load_sd2(checkpoint).text
    assert {tokens: tuple(value.shape) for tokens, value in text.items()} == {2: (1, 2, 24), 77: (1, 77, 24)}
    torch.testing.assert_close(text[77], encoder(padded)[0].detach())


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler])
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize(("spacing", "timestep"), [("trailing", 999), ("leading", 1), ("linspace", 0)])
def test_the_step_is_the_schedulers(kind, prediction, spacing, timestep):
    config = {**SMALL.scheduler, "_class_name": kind.__name__, "prediction_type": prediction}
    scheduler: Any = build_scheduler({**config, "timestep_spacing": spacing, "clip_sample": True}, "here")
    step = one_step(scheduler)
    assert step.timestep == timestep
    assert step.clip == 1.0
    latent, output = torch.randn(2, 1, 4, 5, 6, generator=torch.Generator().manual_seed(3))
    expected = scheduler.step(output, timestep, latent).pred_original_sample
    found = (step.sample_factor * latent + step.output_factor * output).clamp(-1.0, 1.0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_no_signal_at_the_last_timestep_is_honoured_or_refused():
    config = {**SMALL.scheduler, "rescale_betas_zero_snr": True}
    step = one_step(build_scheduler(config, "here"))
    assert (step.sample_factor, step.output_factor) == (0.0, -1.0)
    with pytest.raises(LayoutError, match="rescale_betas_zero_snr"):
        build_scheduler({**config, "prediction_type": "epsilon"}, "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "DDIMScheduler or DDPMScheduler, got 'EulerDiscreteScheduler'"),
        ({"prediction_type": "flow"}, "prediction_type must be .* got 'flow'"),
        ({"timestep_spacing": "middle"}, "timestep_spacing must be .* got 'middle'"),
        ({"thresholding": True}, "thresholding must be false"),
        ({"_class_name": "DDPMScheduler", "variance_type": "learned"}, "variance_type"),
        ({"beta_schedule": "wavy"}, "cannot be built"),
    ],
)
def test_schedulers_that_one_step_cannot_follow_are_refused(changed, change, message):
    _edit(changed / "scheduler" / "scheduler_config.json", **change)
    with pytest.raises(LayoutError, match=rf"scheduler_config\.json: .*{message}"):
        load_sd2(changed)


@pytest.mark.parametrize(("spacing", "count"), [("trailing", 0), ("leading", 1)])
def test_an_unusual_timestep_is_told(changed, spacing, count):
    _edit(changed / "scheduler" / "scheduler_config.json", timestep_spacing=spacing)
    warnings = load_sd2(changed).warnings
    assert len(warnings) == count
    assert all("timestep 1 " in text for text in warnings)
    assert not load_sd2(changed, scheduler={"timestep_spacing": "trailing"}).warnings


def test_training_takes_another_sample_and_longer_text(checkpoint, picture):
    parts = load_sd2(checkpoint)
    plain, training = Sd2Net(parts), Sd2Net(parts, x0_sample="zero", text_tokens=77)
    with torch.no_grad():
        latent = plain.encode(picture)
        factors = one_step(parts.scheduler)
        torch.testing.assert_close(training.denoise(latent), factors.output_factor * training.predict(latent))
        assert not torch.equal(training.predict(latent), plain.predict(latent))
    with pytest.raises(LayoutError, match="x0_sample"):
        Sd2Net(parts, x0_sample="noise")
    with pytest.raises(LayoutError, match="no embedding of 5 tokens"):
        Sd2Net(parts, text_tokens=5)


def test_the_unet_learns_and_the_vae_does_not(picture):
    net = Sd2Net(random_sd2(SMALL), x0_sample="zero").train()
    net.enable_gradient_checkpointing()
    net(picture).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.unet.parameters())
    assert all(parameter.grad is None for parameter in net.vae.parameters())
    assert net.unet.training
    assert not net.vae.training


def test_ddpm_draws_nothing_from_the_global_generator(picture):
    net = Sd2Net(random_sd2(SMALL.updated({"scheduler": {"_class_name": "DDPMScheduler"}}))).eval()
    before = torch.get_rng_state()
    with torch.no_grad():
        net(picture)
    assert torch.equal(before, torch.get_rng_state())


def test_random_weights_are_repeatable_and_see_the_picture(picture):
    state = torch.get_rng_state()
    first, second = (Sd2Net(random_sd2(SMALL)).eval() for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        colours = first(picture)
        assert torch.equal(colours, second(picture))
    assert (colours[0] - colours[1]).std() > 0.05
    assert not any(bool((parameter == 0).all()) for parameter in first.parameters())


def test_written_back_it_is_the_same_for_us_and_for_diffusers(checkpoint, picture, tmp_path):
    parts = load_sd2(checkpoint)
    save_sd2(parts, tmp_path / "saved")
    again = load_sd2(tmp_path / "saved")
    assert (parts.state, again.state) == ("trained", "trained")
    with torch.no_grad():
        assert torch.equal(Sd2Net(parts)(picture), Sd2Net(again)(picture))
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    weights = pipeline.unet.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in parts.unet.state_dict().items())


def test_random_weights_stay_untrained_on_disk_until_they_are_trained(tmp_path):
    parts = random_sd2(SMALL)
    save_sd2(parts, tmp_path / "random")
    assert load_sd2(tmp_path / "random").state == "untrained"
    save_sd2(parts, tmp_path / "trained", state="trained")
    trained = load_sd2(tmp_path / "trained")
    assert trained.state == "trained"
    assert torch.equal(trained.text[2], parts.text[2])


def test_a_saved_embedding_takes_the_encoders_place(changed, tmp_path):
    shutil.rmtree(changed / "text_encoder")
    with pytest.raises(MissingFileError, match="text_encoder/ and tokenizer/, or text_embedding"):
        load_sd2(changed)
    save_file({"any": torch.randn(3, 24)}, tmp_path / "text.safetensors")
    assert load_sd2(changed, text_embedding=tmp_path / "text.safetensors").text_of().shape == (1, 3, 24)


@pytest.mark.parametrize(
    "value", [torch.randn(24), torch.randn(2, 2, 24), torch.full((2, 24), torch.nan), torch.zeros(2, 24).int()]
)
def test_an_embedding_of_another_form_is_refused(checkpoint, tmp_path, value):
    save_file({"text": value}, tmp_path / "text.safetensors")
    with pytest.raises(LayoutError, match=r"text\.safetensors"):
        load_sd2(checkpoint, text_embedding=tmp_path / "text.safetensors")


def test_an_embedding_of_another_width_is_refused(checkpoint, tmp_path):
    save_file({"text": torch.randn(2, 25)}, tmp_path / "text.safetensors")
    with pytest.raises(LayoutError, match="cross_attention_dim"):
        load_sd2(checkpoint, text_embedding=tmp_path / "text.safetensors")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: t.pop("conv_in.bias"), MissingTensorError),
        (lambda t: t.update(extra=torch.zeros(1)), UnexpectedTensorError),
        (lambda t: t.update({"conv_in.bias": torch.zeros(5)}), TensorShapeError),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_tensors_of_the_unet_must_match(changed, change, error):
    path = changed / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(error, match=r"conv_in\.bias|extra"):
        load_sd2(changed)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("unet/config.json", {"_class_name": "UNet2DModel"}, "UNet2DConditionModel, got 'UNet2DModel'"),
        ("unet/config.json", {"block_out_channels": [16]}, "cannot be built"),
        ("vae/config.json", {"_class_name": "VQModel"}, "AutoencoderTiny, got 'VQModel'"),
        ("vae/config.json", {"latents_mean": [0.0] * 4}, "latents_mean must be null"),
        ("vae/config.json", {"scaling_factor": 0.0}, "scaling_factor must be positive"),
    ],
)
def test_configurations_of_other_models_are_refused(changed, file, change, message):
    _edit(changed / file, **change)
    with pytest.raises(LayoutError, match=message):
        load_sd2(changed)


@pytest.mark.parametrize("bare", [False, True], ids=["unet/", "nothing but a U-Net"])
def test_what_a_checkpoint_lacks_comes_from_its_base(checkpoint, picture, tmp_path, bare):
    finetuned = tmp_path / "finetuned" if bare else tmp_path / "finetuned" / "unet"
    shutil.copytree(checkpoint / "unet", finetuned)
    path = finetuned / "diffusion_pytorch_model.safetensors"
    tensors = {name: 1.1 * value for name, value in load_file(path).items()}
    save_file(tensors, path)
    with pytest.raises(MissingFileError, match="scheduler_config"):
        load_sd2(tmp_path / "finetuned")
    parts = load_sd2(tmp_path / "finetuned", base=checkpoint)
    torch.testing.assert_close(parts.unet.conv_in.weight.data, tensors["conv_in.weight"])
    whole = load_sd2(checkpoint)
    torch.testing.assert_close(parts.text, whole.text)
    vaes: list[Any] = [parts.vae, whole.vae]
    torch.testing.assert_close(*(vae.encode(picture).latent_dist.mean for vae in vaes))
    with pytest.raises(LayoutError, match="all but the U-Net may come from a base"):
        load_sd2(tmp_path, base=checkpoint)  # never the base's own U-Net


def test_a_folder_of_another_layout_is_refused(tmp_path):
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(LayoutError, match=r"diffusers layout.*model\.ckpt"):
        load_sd2(tmp_path)


def test_a_unet_for_other_latents_is_refused():
    with pytest.raises(LayoutError, match="in_channels must be 4"):
        random_sd2(SMALL.updated({"unet": {"in_channels": 8}}))
    with pytest.raises(LayoutError, match="unknown table 'text'"):
        SMALL.updated({"text": {}})


def test_old_names_of_the_vaes_attention_are_known(checkpoint, changed, picture):
    path = changed / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, value in load_file(path).items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        tensors[name] = value
    assert any(".query." in name for name in tensors)
    save_file(tensors, path)
    vaes: list[Any] = [load_vae(folder)[0] for folder in (checkpoint, changed)]
    new, renamed = vaes
    assert torch.equal(new.encode(picture).latent_dist.mean, renamed.encode(picture).latent_dist.mean)


def test_another_vae_can_be_named(checkpoint, tmp_path):
    tiny = random_vae({"_class_name": "AutoencoderTiny", "encoder_block_out_channels": [8] * 4})
    tiny.save_pretrained(tmp_path / "tiny")
    parts = load_sd2(checkpoint, vae=str(tmp_path / "tiny"))
    assert type(parts.vae).__name__ == "AutoencoderTiny"
    net = Sd2Net(parts)
    assert net.factor == 1.0
    assert net(torch.zeros(1, 3, 16, 24)).shape == (1, 3, 16, 24)
