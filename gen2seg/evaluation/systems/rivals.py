"""Rivals without weights."""

from typing import Any

import cv2
import numpy as np

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError

from .bundles import COLOR_DISTANCES
from .images import ImageSystem, SegmentSystem
from .interface import Points, Setting, Signs

# Largest difference to the clicked colour, in every channel, that the flood fill crosses.
FLOOD_TOLERANCES = (4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 32.0, 40.0, 50.0, 65.0)
FELZENSZWALB_SCALES = (30.0, 60.0, 100.0, 200.0, 400.0, 800.0)
# Depth, in colour steps a pixel, that a minimum of the gradient must have to be a basin of its own.
WATERSHED_DEPTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
# Of colour: how far a pixel looks for its mode, and modes that are one; in steps of 0..255.
MEANSHIFT_RADII = (5.0, 8.0, 12.0, 18.0, 27.0)
MEANSHIFT_REACH = 7  # pixels
# Half the side of the square that may be foreground, as a share of the longer image side.
GRABCUT_REACHES = (0.05, 0.1, 0.2, 0.35)
GRABCUT_SIDE = 320


class RgbSystem(ImageSystem):
    """The metric prompt of the small bundles, on the image's own colours."""

    settings = COLOR_DISTANCES

    def mask_at(self, state: np.ndarray, point: tuple[int, int], setting: Setting) -> np.ndarray:
        from gen2seg_kernels import prompt_mask

        if setting is None:
            return prompt_mask(state, [point], mode="metric")
        return prompt_mask(state, [point], mode="metric", distance=setting)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "metric prompt on the RGB image"}


class FloodFillSystem(ImageSystem):
    """OpenCV's flood fill from the click: fixed range, 4-connected."""

    settings = FLOOD_TOLERANCES

    def mask_at(self, state: np.ndarray, point: tuple[int, int], setting: Setting) -> np.ndarray:
        if setting is None:
            raise EvaluationError("the system floodfill has no default tolerance; name one")
        height, width = state.shape[:2]
        # The mask is padded by one pixel, as floodFill asks; MASK_ONLY leaves the image alone.
        filled = np.zeros((height + 2, width + 2), np.uint8)
        tolerance = (setting,) * 3
        flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        cv2.floodFill(state, filled, point, (0, 0, 0), tolerance, tolerance, flags)
        return filled[1:-1, 1:-1].view(bool)  # of 0 and 1 alone

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "cv2.floodFill, fixed range, 4-connected"}


class FelzenszwalbSystem(SegmentSystem):
    """The segment under the click of scikit-image's felzenszwalb (its defaults but for the scale)."""

    settings = mask_settings = FELZENSZWALB_SCALES

    def __init__(self) -> None:
        try:
            from skimage.segmentation import felzenszwalb
        except ImportError as error:
            raise MissingExtraError(
                "the system felzenszwalb needs scikit-image: pip install 'gen2seg[evaluate]'"
            ) from error
        self._segment = felzenszwalb

    def segment(self, image: np.ndarray, setting: Setting) -> np.ndarray:
        return self._segment(image, scale=setting).astype(np.int32)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "segment of skimage.segmentation.felzenszwalb under the click"}


class SobelSystem(ImageSystem):
    """Edges of the image's own colours, found and thinned as those of a bundle's colours are."""

    has_edges = True

    def edges(self, state: np.ndarray) -> np.ndarray:
        from gen2seg_runtime.edges import color_edges

        return color_edges(state)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "Sobel and non-maximum suppression on the RGB image"}


class WatershedSystem(SegmentSystem):
    """The basin under the click: watershed of the Sobel edges, flooded from the minima deeper than the setting.

    Meyer 1991, as scikit-image floods; the minima are those of the gradient's h-minima transform.
    """

    settings = mask_settings = WATERSHED_DEPTHS

    def __init__(self) -> None:
        try:
            from skimage.morphology import h_minima
            from skimage.segmentation import watershed
        except ImportError as error:
            raise MissingExtraError(
                "the system watershed needs scikit-image: pip install 'gen2seg[evaluate]'"
            ) from error
        self._h_minima, self._watershed = h_minima, watershed

    def segment(self, image: np.ndarray, setting: Setting) -> np.ndarray:
        smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
        steps = [cv2.Sobel(smooth, cv2.CV_32F, 1 - down, down, ksize=3) / 8 for down in (0, 1)]
        gradient = np.sqrt(sum(np.square(step).sum(axis=2) for step in steps)).astype(np.float32)
        minima = self._h_minima(gradient, setting).astype(np.uint8)
        basins = self._watershed(gradient, cv2.connectedComponents(minima)[1])
        return basins - basins.min()

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "basin of skimage.segmentation.watershed under the click"}


class MeanShiftSystem(SegmentSystem):
    """The segment under the click of a mean shift (Comaniciu and Meer 2002): every pixel climbs to a mode of the
    density over place and colour, and neighbours whose modes' colours are closer than the radius are one segment.

    OpenCV climbs, on a pyramid of two levels, at most five steps; no small segments are merged.
    """

    settings = mask_settings = MEANSHIFT_RADII

    def segment(self, image: np.ndarray, setting: Setting) -> np.ndarray:
        if setting is None:
            raise EvaluationError("the system meanshift has no default radius; name one")
        modes = cv2.pyrMeanShiftFiltering(image, MEANSHIFT_REACH, setting, maxLevel=1).astype(np.float32)
        return _join(modes, setting)

    def describe(self) -> dict[str, Any]:
        method = f"modes of cv2.pyrMeanShiftFiltering, {MEANSHIFT_REACH} pixels, joined within the radius"
        return {"kind": "rival", "method": method}


def _join(colors: np.ndarray, distance: float) -> np.ndarray:
    """int32 [H, W]: pixels connected by steps to one of 4 neighbours that change the colour by less than `distance`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers = np.arange(colors[..., 0].size).reshape(colors.shape[:2])
    across = ((colors[:, 1:] - colors[:, :-1]) ** 2).sum(axis=2) < distance**2
    down = ((colors[1:] - colors[:-1]) ** 2).sum(axis=2) < distance**2
    one = np.concatenate([numbers[:, :-1][across], numbers[:-1][down]])
    other = np.concatenate([numbers[:, 1:][across], numbers[1:][down]])
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(numbers.size, numbers.size))
    return connected_components(graph, directed=False)[1].reshape(numbers.shape).astype(np.int32)


class GrabCutSystem(ImageSystem):
    """GrabCut (Rother et al. 2004) seeded by discs around all clicks, which are sure foreground, or sure
    background where a click is negative.

    A square around the positive clicks, its half side the setting's share of the longer image side, is perhaps
    foreground; all beyond is background. Works on the picture reduced to at most GRABCUT_SIDE pixels, which bounds the
    time.
    """

    settings = GRABCUT_REACHES

    def prepare(self, image: np.ndarray) -> Any:
        scale = min(1.0, GRABCUT_SIDE / max(image.shape[:2]))
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), image.shape[:2]

    def mask(
        self,
        state: Any,
        points: Points,
        setting: Setting,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        if setting is None:
            raise EvaluationError("the system grabcut has no default reach; name one")
        image, (height, width) = state
        rows, columns = image.shape[:2]
        seeds = np.full((rows, columns), cv2.GC_BGD, np.uint8)
        reach = max(2, round(setting * max(rows, columns)))
        centers = [(int(x * columns / width), int(y * rows / height)) for x, y in points]
        signs = labels or (1,) * len(points)
        for (x, y), sign in zip(centers, signs, strict=True):
            if not sign:
                continue
            part = seeds[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            part[...] = cv2.GC_PR_FGD
        for center, sign in zip(centers, signs, strict=True):
            cv2.circle(seeds, center, max(1, reach // 8), cv2.GC_FGD if sign else cv2.GC_BGD, -1)
        # A square over the whole picture leaves no background to learn from: everything is the object.
        if (seeds == cv2.GC_BGD).any():
            cv2.setRNGSeed(0)  # its k-means draws first centres
            cv2.grabCut(image, seeds, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
        found = ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.uint8)
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": f"cv2.grabCut seeded by discs, 3 rounds, longest side {GRABCUT_SIDE}"}
