"""Judging a training checkpoint as it is, before any export."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.systems import ColorSystem
from gen2seg_runtime.colors import normalize_colors
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.manifest import InputSpec, OutputSpec, PadSpec, PromptSpec, ResizeSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry

if TYPE_CHECKING:
    from torch import nn


class CheckpointSystem(ColorSystem):
    """A checkpoint folder (config.json, model.safetensors) run by PyTorch in float32.

    Everything around the network is the runtime's, so that the figures are those of a faithful export.
    """

    def __init__(self, folder: Path, *, sweep: bool = False) -> None:
        """Open the checkpoint; `sweep` also tries COLOR_DISTANCES.

        Raises:
            MissingExtraError: PyTorch or safetensors is not installed.
            CheckpointError: the checkpoint cannot be used.
        """
        super().__init__(sweep)
        try:
            import torch

            from gen2seg.training.checkpoint import load_weights
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"a checkpoint needs {error.name}: pip install 'gen2seg[train]'") from error
        from gen2seg.backbones import get_backbone

        torch.set_num_threads(1)
        self._module: nn.Module
        self._module, config = load_weights(folder)
        with (folder / "model.safetensors").open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._backbone = get_backbone(config["backbone"])
        # What its bundle would say: the exporter starts from the same record.
        own = config.get("metadata", {}).get("bundle_defaults", {})
        defaults = self._backbone.defaults.updated(own)
        self._input = InputSpec(
            mean=self._backbone.mean,
            std=self._backbone.std,
            pad=PadSpec(multiple=self._backbone.stride),
            resize=ResizeSpec(rule="longest_side", size=defaults.size, enlarge_below=defaults.enlarge_below),
        )
        self._output = OutputSpec(normalization=self._backbone.normalization)
        self._prompt = PromptSpec(mode=self._backbone.prompt_mode, distance=defaults.distance)

    def prepare(self, image: np.ndarray) -> Encoding:
        import torch

        geometry = plan_geometry((image.shape[0], image.shape[1]), self._input)
        with torch.inference_mode():
            raw = self._module(torch.from_numpy(network_input(image, self._input, geometry))).float().numpy()
        height, width = geometry.content
        colors = normalize_colors(raw[0], self._output)[:height, :width]
        return Encoding(colors, geometry.image, bundle_id="", bundle_name=self._backbone.name, prompt=self._prompt)

    def describe(self) -> dict[str, Any]:
        prompt = {"mode": self._prompt.mode, "distance": self._prompt.distance}
        return {
            "kind": "checkpoint",
            "backbone": self._backbone.name,
            "digest": self._digest,
            "prompt": prompt,
            "backend": "torch",
        }
