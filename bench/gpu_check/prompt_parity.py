"""Prompting on a device against its plain definition: masks, for every kind of image and click."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.gpu_check.checks import Check
from gen2seg_kernels.prompt import plain
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.reference import prompt_mask_reference
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut, check_prompt

REFERENCE = 2e-5  # of all pixels: where similarity x 255 lies within rounding of a whole number
METRIC = 0.0

# As the functions of `gen2seg_kernels.prompt.triton`: masks, masks_batch, mask_with_confidence.
Masks = Callable[[Tensor, Sequence[Prompt], Any], Tensor]
MasksOfBatch = Callable[[Tensor, Sequence[Sequence[Prompt]], Any], Tensor]
Confident = Callable[[Tensor, Prompt, MetricCut], tuple[Tensor, float]]
Image = NDArray[np.uint8]
CUTS = (ReferenceCut(), REFERENCE), (MetricCut(connected=True), METRIC), (MetricCut(connected=False), METRIC)


def images(size: tuple[int, int]) -> Iterator[tuple[str, Image]]:
    """Names and images of odd and of the given size: noise, flat, two colours, soft regions."""
    rng = np.random.default_rng(1)
    for height, width in ((1, 1), (1, 7), (5, 1), (9, 9), (33, 47), size):
        yield f"noise {height}x{width}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    yield "flat", np.full((19, 21, 3), 77, np.uint8)
    two = np.zeros((*size, 3), np.uint8)
    two[:, size[1] // 3 :] = (255, 255, 255)
    yield "two colours", two
    rows, columns = np.mgrid[: size[0], : size[1]]
    table = rng.integers(40, 256, (12, 3))
    regions = table[(rows * 3 // size[0]) * 4 + columns * 4 // size[1]] + rng.normal(0, 6, (*size, 3))
    yield "soft regions", np.clip(regions, 0, 255).astype(np.uint8)


def clicks(height: int, width: int) -> list[Prompt]:
    """Corners, borders, a place between pixels, several points, and negative ones."""
    right, bottom = width - 1, height - 1
    middle = (right / 2, bottom / 2)
    lists = [([(0, 0)], None), ([(right, bottom)], None), ([(right, bottom / 3)], None), ([middle], None)]
    lists += [([middle, (0, bottom)], [1, 1]), ([(right, 0), middle, (0, 0)], [1, 0, 1]), ([middle], [0])]
    return [check_prompt(points, labels, height, width) for points, labels in lists]


def check(
    masks: Masks,
    device: str,
    inputs: Sequence[tuple[str, Image]],
    prompts_of: Callable[[int, int], list[Prompt]] = clicks,
) -> Iterator[Check]:
    """Mode reference: the share of pixels that differ over all images; mode metric: the same for each setting.

    Args:
        masks: what is checked.
        device: where its colours lie.
        inputs: named images, see `images`.
        prompts_of: the prompts for an image of a height and width.
    """
    for cut, allowed in CUTS:
        different, pixels, unequal = 0, 0, []
        for title, image in inputs:
            prompts = prompts_of(*image.shape[:2])
            got = masks(torch.from_numpy(image).to(device), prompts, cut)
            again = masks(torch.from_numpy(image).to(device), prompts, cut)
            wrong = int((got.cpu().numpy() != _expected(image, prompts, cut)).sum())
            if not torch.equal(got, again):
                unequal.append(f"{title}: two runs differ")
                wrong = got.numel()
            elif wrong:
                unequal.append(f"{title}: {wrong} pixels")
            different += wrong
            pixels += got.numel()
        yield Check(f"prompt, {cut}: share of different pixels", different / pixels, allowed, "; ".join(unequal))


def check_batch(masks: MasksOfBatch, device: str, inputs: Sequence[Image]) -> Iterator[Check]:
    """Several images of one size at once, each with prompts of its own: the share of pixels that differ."""
    prompts = clicks(*inputs[0].shape[:2])
    shared = [prompts[first :: len(inputs)] for first in range(len(inputs))]
    for cut, allowed in CUTS:
        got = masks(torch.from_numpy(np.stack(inputs)).to(device), shared, cut).cpu().numpy()
        wanted = np.concatenate([_expected(image, own, cut) for image, own in zip(inputs, shared, strict=True)])
        yield Check(
            f"prompt, {len(inputs)} images at once, {cut}: share of different pixels", _share(got, wanted), allowed
        )


def check_confidence(confident: Confident, device: str, inputs: Sequence[tuple[str, Image]]) -> Iterator[Check]:
    """Mode metric with confidence: how many clicks have another mask or another confidence."""
    for cut in (MetricCut(connected=True), MetricCut(connected=False)):
        unequal = []
        for title, image in inputs:
            for prompt in clicks(*image.shape[:2]):
                mask, sure = confident(torch.from_numpy(image).to(device), prompt, cut)
                expected, wanted = plain.mask_with_confidence(image, prompt, cut)
                if sure != wanted or not np.array_equal(mask.cpu().numpy(), expected):
                    unequal.append(f"{title}: {sure:.6f} in place of {wanted:.6f}")
        yield Check(f"prompt, {cut}: clicks with another confidence", len(unequal), 0.0, "; ".join(unequal))


def _share(got: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return 1.0 if got.shape != wanted.shape else float((got != wanted).mean())


def _expected(image: Image, prompts: Sequence[Prompt], cut: ReferenceCut | MetricCut) -> NDArray[np.bool_]:
    if isinstance(cut, MetricCut):
        return plain.masks(image, prompts, cut)
    return np.stack(
        [
            prompt_mask_reference(image, prompt.points, cut.sigma, cut.threshold, prompt.positive.astype(int))
            for prompt in prompts
        ]
    )
