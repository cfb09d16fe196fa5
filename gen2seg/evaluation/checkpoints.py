"""Judging a checkpoint as it is, before any export."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen2seg.backbones import Backbone, get_backbone
from gen2seg.backbones.specs import instance_spec, output_spec, prompt_spec, square_input_spec
from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.systems import ColorSystem, device_of
from gen2seg.evaluation.systems.weights import file_digest, kind_of
from gen2seg_runtime.colors import normalize_colors
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.manifest import InputSpec, InstanceSpec, OutputSpec, PadSpec, PromptSpec, ResizeSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry

if TYPE_CHECKING:
    from torch import nn

    from gen2seg.backbones.vit_files import VitCheckpoint


@dataclass(frozen=True)
class Opened:
    """A checkpoint that was read.

    Attributes:
        module: picture (1, 3, h, w) to raw colours of the same size; in eval mode, float32, on the CPU.
        backbone: its record; of a ViTMAE of unusual shape that of the size with the same patches.
        input, output, prompt, instances: what its bundle would say.
        state: "trained", "untrained", or "unknown".
        digest: of the weights, hexadecimal.
    """

    module: "nn.Module"
    backbone: Backbone
    input: InputSpec
    output: OutputSpec
    prompt: PromptSpec
    instances: InstanceSpec
    state: str
    digest: str


class CheckpointSystem(ColorSystem):
    """A checkpoint run by PyTorch in float32: of `gen2seg train`, or `sd2`, `mae-b`, `mae-h`, `dino-b` in the layout
    of the hub.

    Everything around the network is the runtime's, so that the figures are those of a faithful export.
    """

    def __init__(self, folder: Path, *, sweep: bool = False, later: float | None = None, device: str = "cpu") -> None:
        """Open the checkpoint.

        Args:
            folder: config.json and model.safetensors; for `sd2` unet/, vae/, scheduler/, text_encoder/, tokenizer/.
            sweep, later: see ColorSystem.
            device: where the network runs, as PyTorch names it.
        Raises:
            MissingExtraError: PyTorch, or a library that the backbone is made of, is not installed.
            CheckpointError: the checkpoint cannot be used.
            DeviceError: there is no such device.
        """
        super().__init__(sweep, later=later)
        self._device = device_of(device)
        try:
            self._opened = open_checkpoint(folder)
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"a checkpoint needs {error.name}: pip install 'gen2seg[train]'") from error
        self._module: nn.Module = self._opened.module.to(self._device)

    def prepare(self, image: np.ndarray) -> Encoding:
        import torch

        own = self._opened
        geometry = plan_geometry((image.shape[0], image.shape[1]), own.input)
        taken = torch.from_numpy(network_input(image, own.input, geometry)).to(self._device)
        with torch.inference_mode():
            raw = self._module(taken).float().cpu().numpy()
        height, width = geometry.content
        colors = normalize_colors(raw[0], own.output)[:height, :width]
        name, prompt, instances = own.backbone.name, own.prompt, own.instances
        return Encoding(colors, geometry.image, bundle_id="", bundle_name=name, prompt=prompt, instances=instances)

    def describe(self) -> dict[str, Any]:
        own = self._opened
        return {
            "kind": "checkpoint",
            "backbone": own.backbone.name,
            "digest": own.digest,
            "weights": own.state,
            "prompt": {"mode": own.prompt.mode, "distance": own.prompt.distance},
            "backend": "torch",
            "device": self._device,
            **self.describe_later(),
        }


def open_checkpoint(folder: Path) -> Opened:
    """Read a checkpoint by the layout that it has.

    Raises:
        CheckpointError: it cannot be used.
        ModuleNotFoundError: a library is missing.
    """
    return _OPENERS.get(kind_of(folder) or "", _open_own)(folder)


def _open_own(folder: Path) -> Opened:
    """A folder of `gen2seg train` with a network of this project; what it says of its bundle wins."""
    from gen2seg.training.checkpoint import load_weights

    module, config = load_weights(folder)
    backbone = get_backbone(config["backbone"])
    metadata = config.get("metadata", {})
    defaults = backbone.defaults.updated(metadata.get("bundle_defaults", {}))
    return Opened(
        module,
        backbone,
        InputSpec(
            mean=backbone.mean,
            std=backbone.std,
            pad=PadSpec(multiple=backbone.stride),
            resize=ResizeSpec(rule="longest_side", size=defaults.size, enlarge_below=defaults.enlarge_below),
        ),
        OutputSpec(normalization=backbone.normalization),
        PromptSpec(mode=backbone.prompt_mode, distance=defaults.distance),
        InstanceSpec(distance=defaults.instance_distance, background=defaults.background, min_area=defaults.min_area),
        str(metadata.get("state", "unknown")),
        file_digest(folder / "model.safetensors"),
    )


def _open_mae(folder: Path) -> Opened:
    from gen2seg.backbones.mae import load_mae

    found = load_mae(folder)
    patch = found.net.config.patch_size
    name = next((name for name in ("mae-h", "mae-b") if get_backbone(name).stride == patch), "mae-b")
    return _vit(found, name, patch)


def _open_dino(folder: Path) -> Opened:
    from gen2seg.backbones.dino import load_dino

    found = load_dino(folder)
    return _vit(found, "dino-b", found.net.config.patch_size)


def _vit(found: "VitCheckpoint[Any]", name: str, patch: int) -> Opened:
    taken = square_input_spec(found.image, patch)
    return _usual(found.net, name, taken, found.state, found.sha256)


def _open_sd2(folder: Path) -> Opened:
    """At the reference's working size; the U-Net sees the picture's own latent and two text tokens, as its pipeline."""
    from gen2seg.backbones.hub import files_digest
    from gen2seg.backbones.sd2 import Sd2Net, load_sd2

    parts = load_sd2(folder)
    backbone = get_backbone("sd2")
    longest = backbone.defaults.size
    taken = InputSpec(
        resize=ResizeSpec(
            rule="longest_side",
            size=longest,
            enlarge_below=longest,
            interpolation="bilinear_antialias_float",
            rounding="down",
        ),
        pad=PadSpec(multiple=backbone.stride),
    )
    return _usual(Sd2Net(parts).eval(), "sd2", taken, parts.state, files_digest(parts.files))


def _usual(module: "nn.Module", name: str, taken: InputSpec, state: str, digest: str) -> Opened:
    backbone = get_backbone(name)
    return Opened(
        module,
        backbone,
        taken,
        output_spec(backbone),
        prompt_spec(backbone),
        instance_spec(backbone),
        state,
        digest,
    )


_OPENERS: dict[str, Callable[[Path], Opened]] = {"mae": _open_mae, "dino": _open_dino, "sd2": _open_sd2}
