"""The public face of prompting: checks the arguments and chooses the mode and what computes it.

NumPy arrays are worked on by the CPU; CUDA tensors on their device, and the masks stay there. PyTorch and Triton
are loaded only when a tensor comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.native import load_native
from gen2seg_kernels.prompt import cpu, plain
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.points import check_colors, check_number, check_positive, check_prompts
from gen2seg_kernels.prompt.prepared import PreparedColors
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut, check_prompt

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("reference", "metric")

Array = TypeVar("Array", NDArray[Any], "Tensor")  # masks are of the kind of the colours


def prompt_mask(
    colors: Array | PreparedColors,
    points: ArrayLike,
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> Array:
    """Mask of what the points mark on a colour image.

    Mode "reference" is the prompting of gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263): inverse
    distance to the Gaussian-weighted colour around the point, stretched over the image to 0..255,
    smoothed by a joint bilateral filter, cut at `threshold`. Its plain definition is `prompt/reference.py`.
    Mode "metric" cuts at a fixed colour distance; see `prompt/metric.py`.

    Args:
        colors: (H, W, 3) uint8: a NumPy array, contiguous or not; or what `prepare_colors` made of it, which saves
            every call after the first the time to prepare it; or a CUDA tensor.
        points: (N, 2) x and y in pixels of `colors`; pixel centres have whole coordinates.
        sigma: mode reference: width of the Gaussian, as a share of each image side.
        threshold: mode reference: filtered similarity (0..255) above which a pixel belongs.
        mode: "reference" or "metric".
        labels: (N,) 1 = positive, 0 = negative; None = all positive.
        distance: mode metric: colour distance (colours 0..255) below which a pixel belongs.
        connected: mode metric: keep only what is connected to the point (8 neighbours).
        threads: at most so many; None for the environment variable GEN2SEG_NUM_THREADS, or else one per
            usable core. The mask does not depend on it. No effect on tensors.

    Returns:
        (H, W) bool: the union of the positive points' masks less the union of the negative ones'; empty
        if no point is positive. A NumPy array, or a tensor on the device of `colors`.

    Raises:
        ImportError: `colors` is a tensor, and Triton is not installed.
        TypeError: `colors` is not a uint8 array or CUDA tensor, or a number or point is of another type.
        ValueError: wrong shape, unknown mode, no points, a point that is NaN or outside the image, a
            label other than 0 and 1, `sigma`, `distance` or `threads` not positive.
    """
    kernels, checked = _open(colors)
    cut = check_cut(mode, sigma, threshold, distance, connected)
    prompt = check_prompt(points, labels, *checked.shape[:2])
    return kernels.masks(checked, [prompt], cut, threads)[0]


def prompt_masks(
    colors: Array | PreparedColors,
    prompts: Sequence[ArrayLike],
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: Sequence[ArrayLike | None] | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> Array:
    """Masks of K prompts on one colour image; what the prompts have in common is computed once.

    Args:
        colors: (H, W, 3) uint8, a NumPy array, prepared colours or a CUDA tensor.
        prompts: K lists of points, each as in `prompt_mask`.
        labels: K lists of labels (or None for a prompt whose points are all positive); None = all positive.
        sigma, threshold, mode, distance, connected, threads: as in `prompt_mask`.

    Returns:
        (K, H, W) bool, each equal to `prompt_mask` of that prompt.

    Raises:
        ImportError, TypeError, ValueError: as `prompt_mask`, or `labels` does not hold one entry per prompt.
    """
    kernels, checked = _open(colors)
    cut = check_cut(mode, sigma, threshold, distance, connected)
    return kernels.masks(checked, _requests(prompts, labels, checked), cut, threads)


def prompt_masks_batch(
    colors: Array,
    prompts: Sequence[Sequence[ArrayLike]],
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: Sequence[Sequence[ArrayLike | None] | None] | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> list[Array]:
    """Masks of several prompts on each of several colour images of one size; a GPU works on all of them at once.

    Args:
        colors: (B, H, W, 3) uint8, a NumPy array or a CUDA tensor.
        prompts: for each image its prompts, each a list of points as in `prompt_mask`; none is allowed.
        labels: for each image the labels of its prompts as in `prompt_masks`; None = all positive.
        sigma, threshold, mode, distance, connected, threads: as in `prompt_mask`.

    Returns:
        For each image (its number of prompts, H, W) bool, equal to `prompt_masks` of that image.

    Raises:
        ImportError, TypeError, ValueError: as `prompt_masks`, or not one entry of prompts (labels) per image.
    """
    if isinstance(colors, PreparedColors):
        raise TypeError("colors must be (B, H, W, 3) uint8, got prepared colours, which are of one image")
    kernels, checked = _open(colors, "(B, H, W, 3)")
    cut = check_cut(mode, sigma, threshold, distance, connected)
    signs = [None] * len(prompts) if labels is None else labels
    for name, given in (("prompts", prompts), ("labels", signs)):
        if len(given) != len(checked):
            raise ValueError(f"{name} must hold one entry for each of {len(checked)} images, got {len(given)}")
    requests = [_requests(own, sign, checked[0]) for own, sign in zip(prompts, signs, strict=True)]
    if _is_tensor(colors):
        return list(kernels.masks_batch(checked, requests, cut).split([len(own) for own in requests]))
    return [kernels.masks(image, own, cut, threads) for image, own in zip(checked, requests, strict=True)]


def prompt_mask_with_confidence(
    colors: Array | PreparedColors,
    points: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> tuple[Array, float]:
    """Mask in mode "metric", and how sure its border is.

    The confidence is |inner| / |outer|: the pixels that a cut lower by a quarter still keeps, over those
    that a cut higher by a quarter takes in. It is 1 where no pixel of the mask or beside it lies near the
    cut, and near 0 where the colour distances are dense around it or a slightly larger cut would leak.
    Of several points it is the same ratio for the combined masks; an empty mask has confidence 0.

    Args:
        colors, points, labels, distance, connected, threads: as in `prompt_mask`.

    Returns:
        (H, W) bool as `prompt_mask(..., mode="metric")` gives, and the confidence in [0, 1], for which the host waits
        if `colors` is a tensor.

    Raises:
        ImportError, TypeError, ValueError: as `prompt_mask`.
    """
    kernels, checked = _open(colors)
    cut = MetricCut(check_positive("distance", distance), bool(connected))
    prompt = check_prompt(points, labels, *checked.shape[:2])
    return kernels.mask_with_confidence(checked, prompt, cut, threads)


def _open(colors: Any, axes: str = "(H, W, 3)") -> tuple[ModuleType, Any]:
    """What computes masks on these colours, and the colours, checked."""
    if isinstance(colors, PreparedColors):
        return plain if load_native() is None else cpu, colors
    if not _is_tensor(colors):
        return plain if load_native() is None else cpu, check_colors(colors, axes)
    try:
        kernels = import_module("gen2seg_kernels.prompt.triton")
    except ImportError as error:
        raise ImportError(f"prompting on tensors needs Triton (pip install triton): {error}") from error
    return kernels, kernels.check_tensor(colors, axes)


def _is_tensor(colors: Any) -> bool:
    return type(colors).__module__.partition(".")[0] == "torch"


def _requests(
    prompts: Sequence[ArrayLike],
    labels: Sequence[ArrayLike | None] | None,
    colors: NDArray[Any] | PreparedColors | Tensor,
) -> list[Prompt]:
    check_prompts(prompts, labels)
    signs = [None] * len(prompts) if labels is None else labels
    size = colors.shape[:2]
    return [check_prompt(points, sign, *size) for points, sign in zip(prompts, signs, strict=True)]


def check_cut(mode: str, sigma: float, threshold: float, distance: float, connected: bool) -> ReferenceCut | MetricCut:
    """Returns the options of a mode.

    Raises:
        TypeError, ValueError: as `prompt_mask`.
    """
    if mode == "reference":
        return ReferenceCut(check_positive("sigma", sigma), check_number("threshold", threshold))
    if mode == "metric":
        return MetricCut(check_positive("distance", distance), bool(connected))
    raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
