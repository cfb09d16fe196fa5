"""SAM (Kirillov et al. 2023, arXiv 2304.02643) by transformers: clicks, automatic masks, edges."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError

from .devices import device_of
from .interface import Points, Setting, Signs
from .weights import file_digest, kind_of

# SAM's own automatic mask generator (appendix B, and its released defaults).
GRID, IOU_CUT, STABILITY_CUT, STABILITY_OFFSET, NMS_IOU = 32, 0.88, 0.95, 1.0, 0.7
EDGE_GRID = 16  # appendix D.2: edges come from a 16 x 16 grid, every mask kept but for NMS
POINTS_AT_ONCE = 64


@dataclass
class SamState:
    """An encoded image.

    Attributes:
        embedding: float32 [1, C, h, w], a torch tensor.
        size: (H, W) of the image.
        shape: (h, w) of the image as the network saw it, without padding.
        logits: by the last instance's clicks (points and labels), the low-resolution logits chosen, [1, 1, h, w].
    """

    embedding: Any
    size: tuple[int, int]
    shape: tuple[int, int]
    logits: dict[tuple[Any, ...], Any] = field(default_factory=dict)


class SamSystem:
    """SAM in float32 from a folder in the hub's layout (config.json, model.safetensors)."""

    settings: tuple[Setting, ...] = (None,)
    has_edges = True
    mask_settings: tuple[Setting, ...] = (None,)

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Open the folder.

        Raises:
            MissingExtraError: PyTorch or transformers is not installed.
            DeviceError: there is no such device.
            EvaluationError: the folder holds no SAM in safetensors, or one that lacks tensors.
        """
        try:
            import torch
            from transformers import SamImageProcessor, SamModel, SamProcessor
        except ImportError as error:
            raise MissingExtraError("SAM needs PyTorch and transformers: pip install 'gen2seg[train]'") from error
        weights = folder / "model.safetensors"
        if kind_of(folder) != "sam" or not weights.is_file():
            raise EvaluationError(f"{folder}: expected SAM's config.json and model.safetensors")
        loaded: Any = SamModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        model, info = loaded
        # The image's positional embedding is shared with the prompt encoder's, and is saved once.
        missing = [key for key in info["missing_keys"] if "positional_embedding" not in key]
        if missing:
            raise EvaluationError(f"{weights}: lacks {len(missing)} tensors, the first {sorted(missing)[0]}")
        self._device = device_of(device)
        self._model: Any = model.to(device).eval()
        side = model.config.vision_config.image_size
        images = SamImageProcessor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
        self._processor: Any = SamProcessor(images)
        self._digest = file_digest(weights)

    def prepare(self, image: np.ndarray) -> SamState:
        import torch

        inputs = self._processor(images=image, return_tensors="pt")
        with torch.inference_mode():
            embedding = self._model.get_image_embeddings(inputs["pixel_values"].to(self._device))
        if not torch.is_tensor(embedding):
            embedding = embedding[0]
        height, width = inputs["reshaped_input_sizes"][0].tolist()
        return SamState(embedding, (image.shape[0], image.shape[1]), (height, width))

    def mask(
        self,
        state: SamState,
        points: Points,
        setting: Setting = None,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        """bool [H, W] for clicks; `labels` 1 positive, 0 negative, all positive by default.

        The first click answers with the one of three masks that SAM predicts the best IoU for; each later one is
        given all points and the logits of the answer before, and answers with the single mask (SAM, section 5).
        """
        signs = labels or (1,) * len(points)
        if len(signs) != len(points):
            raise EvaluationError(f"labels must be one a point: expected {len(points)}, got {len(signs)}")
        for count in range(1, len(points) + 1):
            key = (*points[:count], *signs[:count])
            if key not in state.logits:
                if count == 1:  # another instance: what its clicks build on is kept, not every answer of the picture
                    state.logits.clear()
                earlier = state.logits[(*points[: count - 1], *signs[: count - 1])] if count > 1 else None
                state.logits[key] = self._click(state, points[:count], signs[:count], earlier)
        return self._enlarge(state, state.logits[(*points, *signs)])[0, 0].cpu().numpy() > 0

    def masks(self, state: SamState, setting: Setting = None) -> list[tuple[np.ndarray, float]]:
        """Automatic masks: (bool [H, W], predicted IoU), best first, from a grid of GRID x GRID clicks.

        One crop, the whole picture; no removal of small holes and islands, which SAM leaves off by default.
        """
        found = self._grid(state, GRID, filtered=True)
        return [(logits > 0, score) for logits, score in found]

    def edges(self, state: SamState) -> np.ndarray:
        """Appendix D.2: at each pixel the steepest mask probability, near that mask's boundary, thinned.

        Thinning is ours, along that mask's gradient; SAM thins the finished map as structured edges do.
        """
        import cv2

        from gen2seg_runtime.edges import thin_gradient

        best = np.zeros((*state.size, 3), np.float32)
        for logits, _ in self._grid(state, EDGE_GRID, filtered=False):
            mask = (logits > 0).astype(np.uint8)
            outer = cv2.dilate(mask, np.ones((3, 3), np.uint8)) != cv2.erode(mask, np.ones((3, 3), np.uint8))
            chance = (1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32)
            right, down = (
                cv2.Sobel(chance, cv2.CV_32F, 1 - k, k, ksize=3, borderType=cv2.BORDER_REPLICATE) for k in (0, 1)
            )
            steeper = outer & (right**2 + down**2 > best[..., 0] + best[..., 2])
            best[steeper] = np.stack([right**2, right * down, down**2], axis=2)[steeper]
        thin = thin_gradient(best)
        return thin / max(float(thin.max()), 1e-12)

    def colors(self, state: SamState) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"kind": "sam", "digest": self._digest, "backend": "torch", "device": self._device}

    def _predict(self, state: SamState, groups: Any, signs: Any, earlier: Any, several: bool) -> tuple[Any, Any]:
        """Groups of clicks [K, N, 2] in pixels -> logits [K, M, h, w] and predicted IoU [K, M]."""
        import torch

        (height, width), (rows, columns) = state.size, state.shape
        scale = np.array([columns / width, rows / height])
        places = torch.tensor(np.asarray(groups, np.float64) * scale, dtype=torch.float32, device=self._device)
        labels = torch.tensor(signs, dtype=torch.long, device=self._device)
        with torch.inference_mode():
            output = self._model(
                image_embeddings=state.embedding,
                input_points=places[None],
                input_labels=labels[None],
                input_masks=earlier,
                multimask_output=several,
            )
        return output.pred_masks[0], output.iou_scores[0]

    def _click(self, state: SamState, points: Points, signs: tuple[int, ...], earlier: Any) -> Any:
        logits, scores = self._predict(state, [points], [list(signs)], earlier, earlier is None)
        best = int(scores[0].argmax())
        return logits[:1, best : best + 1]

    def _enlarge(self, state: SamState, logits: Any) -> Any:
        """Low-resolution logits [K, M, h, w] -> [K, M, H, W]."""
        return self._processor.image_processor.post_process_masks(
            [logits], [list(state.size)], [list(state.shape)], binarize=False
        )[0]

    def _grid(self, state: SamState, side: int, filtered: bool) -> list[tuple[np.ndarray, float]]:
        """Logits float32 [H, W] and predicted IoU of the masks that a grid of clicks finds, best first."""
        steps = (np.arange(side) + 0.5) / side
        across, down = np.meshgrid(steps * state.size[1], steps * state.size[0])
        points = np.stack([across.ravel(), down.ravel()], axis=1)
        kept: list[tuple[np.ndarray, float]] = []
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = points[start : start + POINTS_AT_ONCE, None]
            low, scores = self._predict(state, part, np.ones(part.shape[:2], int), None, True)
            for index in range(len(part)):
                large = self._enlarge(state, low[index : index + 1])[0].float().cpu().numpy()
                for logits, score in zip(large, scores[index].tolist(), strict=True):
                    if not (logits > 0).any() or (filtered and (score <= IOU_CUT or stability(logits) < STABILITY_CUT)):
                        continue
                    # Half precision bounds the memory: hundreds of maps at full size.
                    kept.append((logits.astype(np.float16), score))
        kept.sort(key=lambda pair: -pair[1])
        chosen = suppress(np.array([_box(logits > 0) for logits, _ in kept]).reshape(-1, 4))
        return [(kept[index][0].astype(np.float32), kept[index][1]) for index in chosen]


def stability(logits: np.ndarray) -> float:
    """IoU of the masks cut STABILITY_OFFSET above and below zero, in [0, 1]."""
    lower = np.count_nonzero(logits > -STABILITY_OFFSET)
    return np.count_nonzero(logits > STABILITY_OFFSET) / lower if lower else 0.0


def suppress(boxes: np.ndarray) -> list[int]:
    """Indices of the boxes (x0, y0, x1, y1; best first) that no better kept one overlaps by more than NMS_IOU."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for index, box in enumerate(boxes):
        others = boxes[kept]
        sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        common = np.maximum(sides, 0).prod(axis=1)
        if not (common > NMS_IOU * (areas[kept] + areas[index] - common)).any():
            kept.append(index)
    return kept


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
