"""`make gpu-check [TUNE=1] [BUNDLE=DIR]`: parity on the card, compiled files, times, tiles, engines."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bench.gpu_check import engines, loss_parity, prompt_parity, runtime, timing, tuning
from bench.gpu_check.checks import report
from bench.gpu_check.compiled import launching_compiled
from bench.gpu_check.device import Card, event_timer, this_card
from gen2seg_kernels.aot.architectures import ARCHITECTURES, fitting_architecture
from gen2seg_kernels.aot.build import build
from gen2seg_kernels.aot.discover import all_variants, triton_modules
from gen2seg_kernels.cuda_driver import open_driver
from gen2seg_kernels.launch import CompiledKernels

SIZE = (480, 640)
DEVICE = "cuda"


def main() -> int:
    """Returns 1 if a parity check failed, else 0; also where there is no GPU, and nothing is claimed."""
    if not torch.cuda.is_available():
        print("gpu-check: no NVIDIA GPU here; nothing was run and nothing is claimed")
        return 0
    from gen2seg_kernels.loss.triton import loss_and_grad
    from gen2seg_kernels.prompt.triton import masks

    card = this_card(torch.cuda.get_device_name(), open_driver(torch.cuda.current_device()))
    print(f"gpu-check: {card}; torch {torch.__version__}")
    passed = report("kernels compiled by Triton now", _parity(loss_and_grad, masks))
    passed &= check_compiled(card, lambda: list(_parity(loss_and_grad, masks)))
    print("times (median of 20 runs); bytes are inputs read once and outputs written once")
    print(f"  {timing.copy_line(card, DEVICE, event_timer)}")
    for line in timing.time_loss(loss_and_grad, card, DEVICE, event_timer):
        print(f"  {line}")
    for line in timing.time_prompts(masks, card, DEVICE, event_timer):
        print(f"  {line}")
    if os.environ.get("TUNE"):
        passed &= _tune(loss_and_grad, card)
    if os.environ.get("BUNDLE"):
        passed &= report("engines", engines.check_bundle(Path(os.environ["BUNDLE"])))
        passed &= report("the runtime without PyTorch", runtime.check_bundle(Path(os.environ["BUNDLE"])))
    print("gpu-check: all parity checks passed" if passed else "gpu-check: FAILED")
    return 0 if passed else 1


def _parity(loss: loss_parity.Loss, masks: prompt_parity.Masks):
    yield from loss_parity.check(loss, DEVICE, loss_parity.cases(SIZE))
    yield from prompt_parity.check(masks, DEVICE, list(prompt_parity.images(SIZE)))


def check_compiled(card: Card, parity: Callable[[], list]) -> bool:
    """The same checks with every launch through the ahead-of-time launcher."""
    modules = triton_modules()
    variants = all_variants(modules)
    # Which files fit depends on how Triton assembles an architecture: see `architectures.py`.
    sm = fitting_architecture(card.capability, [(known, known >= 90) for known in ARCHITECTURES])
    if sm is None:
        print(f"kernels compiled ahead of time: none of {ARCHITECTURES} runs on sm_{card.capability}; NOT checked")
        return True
    with tempfile.TemporaryDirectory() as folder:
        build(modules, [sm], Path(folder), workers=os.cpu_count() or 1)
        with (
            CompiledKernels(folder, torch.cuda.current_device()) as kernels,
            launching_compiled(kernels, variants, lambda: torch.cuda.current_stream().cuda_stream) as ran,
        ):
            passed = report(f"kernels compiled ahead of time for sm_{sm}", parity())
        missed = sorted(set(kernels.contract.kernels) - ran)
    print(f"  {len(ran)} compiled kernels ran" + (f"; NOT run: {', '.join(missed)}" if missed else ""))
    return passed


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
