"""Seeded random weights that leave no branch of a network without effect."""

import hashlib

import torch
from torch import nn


def randomize_constants(module: nn.Module, seed: int) -> None:
    """Replace what initialisation leaves constant: biases, norm scales and shifts, tensors of zeros.

    Behind a zero bias or a scale of one a mistake would not show; these get small random numbers, scales stay
    around one.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            if parameter.is_meta:  # only counted, never run
                continue
            if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                noise = torch.randn(parameter.shape, generator=generator)
                spread = 0.1 if parameter.dim() == 1 else 0.02
                parameter.add_((spread * noise).to(parameter))


def tensors_digest(module: nn.Module) -> str:
    """SHA-256, in hex, of all tensors in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
