"""Kernels of gen2seg: prompting on colour images, the instance colouring loss, and the matching of edges.

Names load what they need when they are first used: prompting loads NumPy and OpenCV's core, the loss
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen2seg_kernels.boundary.dispatch import match_boundary
    from gen2seg_kernels.loss.autograd import instance_coloring_loss, instance_coloring_terms
    from gen2seg_kernels.prompt.dispatch import (
        prompt_mask,
        prompt_mask_with_confidence,
        prompt_masks,
        prompt_masks_batch,
    )
    from gen2seg_kernels.prompt.prepared import PreparedColors, prepare_colors
    from gen2seg_kernels.prompt.refine import PromptState, prompt_refine, prompt_start

__all__ = [
    "PreparedColors",
    "PromptState",
    "instance_coloring_loss",
    "instance_coloring_terms",
    "match_boundary",
    "prepare_colors",
    "prompt_mask",
    "prompt_mask_with_confidence",
    "prompt_masks",
    "prompt_masks_batch",
    "prompt_refine",
    "prompt_start",
]

_HOMES = {
    "PreparedColors": "gen2seg_kernels.prompt.prepared",
    "PromptState": "gen2seg_kernels.prompt.refine",
    "instance_coloring_loss": "gen2seg_kernels.loss.autograd",
    "instance_coloring_terms": "gen2seg_kernels.loss.autograd",
    "match_boundary": "gen2seg_kernels.boundary.dispatch",
    "prepare_colors": "gen2seg_kernels.prompt.prepared",
    "prompt_mask": "gen2seg_kernels.prompt.dispatch",
    "prompt_mask_with_confidence": "gen2seg_kernels.prompt.dispatch",
    "prompt_masks": "gen2seg_kernels.prompt.dispatch",
    "prompt_masks_batch": "gen2seg_kernels.prompt.dispatch",
    "prompt_refine": "gen2seg_kernels.prompt.refine",
    "prompt_start": "gen2seg_kernels.prompt.refine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
