"""SimpleClick as a system: clicks with the probability of the answer before."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError

from .devices import device_of
from .interface import Points, Proposals, Setting, Signs
from .weights import file_digest


@dataclass
class ClickState:
    """An image as the network takes it (float32 [1, 3, h, w]), its size (H, W), answers to the last clicks."""

    image: Any
    size: tuple[int, int]
    answers: dict[tuple[Any, ...], Any] = field(default_factory=dict)


class SimpleClickSystem:
    """A folder that `gen2seg train` wrote; pictures are stretched to the square that the network was made for."""

    settings: tuple[Setting, ...] = (None,)
    has_edges = False
    mask_settings: tuple[Setting, ...] = ()

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Open the folder.

        Raises:
            MissingExtraError: PyTorch, timm or safetensors is not installed.
            CheckpointError: the folder cannot be used.
            DeviceError: there is no such device.
        """
        try:
            from gen2seg.simpleclick.files import load
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"SimpleClick needs {error.name}: pip install 'gen2seg[train]'") from error
        self._device = device_of(device)
        self._model = load(folder).to(device)
        self._digest = file_digest(folder / "model.safetensors")

    def prepare(self, image: np.ndarray) -> ClickState:
        import cv2
        import torch

        from gen2seg.simpleclick.model import MEAN, STD

        side = self._model.config.size
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        scaled = (small.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        tensor = torch.from_numpy(scaled).permute(2, 0, 1)[None].to(self._device)
        return ClickState(tensor, (image.shape[0], image.shape[1]))

    def mask(
        self,
        state: ClickState,
        points: Points,
        setting: Setting = None,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        """bool [H, W] for clicks; `labels` 1 positive, 0 negative, all positive by default."""
        import torch
        import torch.nn.functional as F

        from gen2seg.simpleclick.model import draw_clicks

        signs = labels or (1,) * len(points)
        if len(signs) != len(points):
            raise EvaluationError(f"labels must be one a point: expected {len(points)}, got {len(signs)}")
        (height, width), side = state.size, self._model.config.size
        scaled = [((x + 0.5) * side / width - 0.5, (y + 0.5) * side / height - 0.5) for x, y in points]
        answer = torch.zeros_like(state.image[:, :1])
        for count in range(1, len(points) + 1):
            key = (*points[:count], *signs[:count])
            if key not in state.answers:
                if count == 1:  # another instance
                    state.answers.clear()
                discs = draw_clicks(scaled[:count], signs[:count], (side, side)).to(self._device)
                with torch.inference_mode():
                    logits = self._model(state.image, torch.cat([discs[None], answer], dim=1))
                state.answers[key] = torch.sigmoid(logits)
            answer = state.answers[key]
        large = F.interpolate(answer, size=state.size, mode="bilinear", align_corners=False)
        return large[0, 0].cpu().numpy() > 0.5

    def edges(self, state: ClickState) -> np.ndarray:
        raise EvaluationError("SimpleClick finds no edges")

    def masks(self, state: ClickState, setting: Setting) -> Proposals:
        raise EvaluationError("SimpleClick finds no masks without a click")

    def colors(self, state: ClickState) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"kind": "simpleclick", "digest": self._digest, "backend": "torch", "device": self._device}
