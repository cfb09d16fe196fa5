"""`make gpu-check [TUNE=1] [BUNDLE=DIR]`: parity on the card, compiled files, times, tiles, engines."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.gpu_check import engines, loss_parity, prompt_parity, runtime, timing, tuning
from bench.gpu_check.checks import Check, report
from bench.gpu_check.compiled import check_all_run
from bench.gpu_check.device import Card, event_timer, this_card
from gen2seg_kernels.aot.architectures import ARCHITECTURES, fitting_architecture, is_exact
from gen2seg_kernels.aot.build import build
from gen2seg_kernels.aot.discover import all_variants, triton_modules
from gen2seg_kernels.cuda_driver import open_driver
from gen2seg_kernels.launch import CompiledKernels

SIZE = (480, 640)
DEVICE = "cuda"


def main() -> int:
    """Returns 1 if a check failed or could not be made, else 0; also where there is no GPU, and nothing is claimed."""
    if not torch.cuda.is_available():
        print("gpu-check: no NVIDIA GPU here; nothing was run and nothing is claimed")
        return 0
    from gen2seg_kernels.loss.triton import loss_and_grad
    from gen2seg_kernels.prompt import triton as prompt

    card = this_card(torch.cuda.get_device_name(), open_driver(torch.cuda.current_device()))
    print(f"gpu-check: {card}; torch {torch.__version__}")
    passed = report("kernels compiled by Triton now", _parity(loss_and_grad, prompt))
    passed &= check_compiled(card, lambda: _parity(loss_and_grad, prompt))
    print("times (median of 20 runs); bytes are inputs read once and outputs written once")
    print(f"  {timing.copy_line(card, DEVICE, event_timer)}")
    for line in timing.time_loss(loss_and_grad, card, DEVICE, event_timer):
        print(f"  {line}")
    for line in timing.time_prompts(prompt.masks, card, DEVICE, event_timer):
        print(f"  {line}")
    if os.environ.get("TUNE"):
        passed &= _tune(loss_and_grad, card)
    if os.environ.get("BUNDLE"):
        passed &= report("engines", engines.check_bundle(Path(os.environ["BUNDLE"])))
        passed &= report("the runtime without PyTorch", runtime.check_bundle(Path(os.environ["BUNDLE"])))
    print("gpu-check: all checks passed" if passed else "gpu-check: FAILED")
    return 0 if passed else 1


def _parity(loss: loss_parity.Loss, prompt: Any) -> Iterator[Check]:
    """All parity checks; `prompt` has the functions of `gen2seg_kernels.prompt.triton`."""
    yield from loss_parity.check(loss, DEVICE, loss_parity.cases(SIZE))
    inputs = list(prompt_parity.images(SIZE))
    yield from prompt_parity.check(prompt.masks, DEVICE, inputs)
    large = [image for _, image in inputs if image.shape[:2] == SIZE]
    yield from prompt_parity.check_batch(prompt.masks_batch, DEVICE, large)
    yield from prompt_parity.check_confidence(prompt.mask_with_confidence, DEVICE, inputs)


def check_compiled(card: Card, parity: Callable[[], Iterable[Check]]) -> bool:
    """The same checks with every launch through the ahead-of-time launcher; they fail where no file fits the card."""
    title = "kernels compiled ahead of time"
    sm = fitting_architecture(card.capability, [(known, is_exact(known)) for known in ARCHITECTURES])
    if sm is None:
        detail = f"none of {ARCHITECTURES} runs on sm_{card.capability}: NOT checked"
        return report(title, [Check("cards without a file", 1.0, 0.0, detail)])
    modules = triton_modules()
    with tempfile.TemporaryDirectory() as folder:
        build(modules, [sm], Path(folder), workers=os.cpu_count() or 1)
        with CompiledKernels(folder, torch.cuda.current_device()) as kernels:
            return report(f"{title} for sm_{sm}", check_all_run(kernels, all_variants(modules), _stream, parity))


def _stream() -> int:
    return torch.cuda.current_stream().cuda_stream


def _tune(loss: tuning.TiledLoss, card: Card) -> bool:
    """Writes the table only if the chosen tiles pass the parity checks."""
    print("tiles of the loss, times over images with few and with many instances")
    tiles = tuning.tune(loss, card, DEVICE, event_timer)
    passed = report(
        "chosen tiles", loss_parity.check(lambda *a: loss(*a, tiles=tiles), DEVICE, loss_parity.cases(SIZE))
    )
    if passed:
        print(f"  written: {tuning.write_entry(card.capability, tiles)}")
        print("  then: python -m gen2seg_kernels.aot --update-table")
    return passed


if __name__ == "__main__":
    sys.exit(main())
