"""What a network costs: numbers stored and operations done."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gen2seg_export.model import Cost


def measure_cost(run: Callable[[Tensor], Any], modules: Iterable[nn.Module], size: tuple[int, int]) -> Cost:
    """Count parameters, and the operations on one picture, without computing anything.

    Args:
        run: takes a picture (1, 3, height, width) and calls the modules.
        modules: those whose tensors count; one that occurs twice counts once.
        size: (height, width).
    Returns:
        Cost with matrix products and convolutions as operations, a multiply-add as two; what is done element by
        element is left out, as usual.
    """
    tensors = {
        id(tensor): tensor
        for module in modules
        for tensor in [*module.parameters(), *module.buffers()]
        if tensor.is_floating_point()
    }
    counter = FlopCounterMode(display=False)
    # The counter does not know the fused attention of CPUs; written out, its products are counted like any others.
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH), counter:
        run(torch.zeros(1, 3, *size))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    return Cost(parameters=numbers, bytes=4 * numbers, flops=counter.get_total_flops(), size=size)
