"""Kernels of gen2seg: prompting on colour images, and the instance colouring loss.

Names load what they need when they are first used: prompting loads NumPy and OpenCV's core, the loss
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen2seg_kernels.loss.autograd import instance_coloring_loss, instance_coloring_terms
    from gen2seg_kernels.prompt.dispatch import (
        prompt_mask,
        prompt_mask_with_confidence,
        prompt_masks,
        prompt_masks_batch,
    )

__all__ = [
    "instance_coloring_loss",
    "instance_coloring_terms",
    "prompt_mask",
    "prompt_mask_with_confidence",
    "prompt_masks",
    "prompt_masks_batch",
]

_HOMES = {
    "instance_coloring_loss": "gen2seg_kernels.loss.autograd",
    "instance_coloring_terms": "gen2seg_kernels.loss.autograd",
    "prompt_mask": "gen2seg_kernels.prompt.dispatch",
    "prompt_mask_with_confidence": "gen2seg_kernels.prompt.dispatch",
    "prompt_masks": "gen2seg_kernels.prompt.dispatch",
    "prompt_masks_batch": "gen2seg_kernels.prompt.dispatch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
