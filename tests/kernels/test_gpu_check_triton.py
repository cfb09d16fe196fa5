"""gpu-check's parity checks on the Triton kernels, interpreted, and its way to compiled files, which are a FAKE."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from bench.gpu_check import loss_parity, prompt_parity  # noqa: E402
from bench.gpu_check.compiled import check_all_run, launching_compiled  # noqa: E402
from gen2seg_kernels.aot.contract import Target  # noqa: E402
from gen2seg_kernels.aot.errors import LaunchError  # noqa: E402
from gen2seg_kernels.loss import triton as loss_triton  # noqa: E402
from gen2seg_kernels.loss.config import LossConfig  # noqa: E402
from gen2seg_kernels.loss.tiles import Tiles  # noqa: E402
from gen2seg_kernels.prompt import triton as prompt_triton  # noqa: E402
from gen2seg_kernels.prompt.metric import MetricCut  # noqa: E402
from gen2seg_kernels.prompt.request import ReferenceCut  # noqa: E402

# The interpreter's time goes by operations, whatever their size.
LARGE = Tiles(sum_pixels=1024, sum_rows=64, row_block=256, mean_block=512, mean_pixels=512, pixel_block=4096)


class FakeKernels:
    """Stands for `CompiledKernels`: contracts made from the variants, launches kept instead of made."""

    def __init__(self, variants):
        self.variants = {v.name: v for v in variants if v.architectures is None or 80 in v.architectures}
        self.launches = []

    def target(self, name):
        variant = self.variants[name]
        return Target(80, False, f"{name}.cubin", 1, "", variant.grid, (128, 1, 1), 0, 1, 0, 0, 0, variant.constexprs)

    def launch(self, name, arguments, *, grid, stream):
        variant = self.variants[name]
        wanted = {argument for argument, kind in variant.signature.items() if kind != "constexpr"}
        assert set(arguments) == wanted
        for argument, value in arguments.items():
            assert isinstance(value, (int, float)), argument
            assert not (variant.signature[argument].startswith("i") and isinstance(value, float)), argument
        self.launches.append((name, grid, stream))


def test_loss_parity():
    def loss(*arguments):
        return loss_triton.loss_and_grad(*arguments, tiles=LARGE)

    # bfloat16 is beyond the interpreter, and its time goes by instances.
    batches = [case for case in loss_parity.cases((12, 16), 20) if case.pred.dtype != torch.bfloat16]
    batches = [case for case in batches if len(case.labels.ravel()) < 600 or len(case.labels) > 1]
    failed = [check for check in loss_parity.check(loss, "cpu", batches) if not check.passed]
    assert failed == []


def test_prompt_parity():
    # One image, two prompts of several points: the interpreter takes seconds for each.
    inputs = [(title, image) for title, image in prompt_parity.images((5, 9)) if title == "soft regions"]
    checks = prompt_parity.check(prompt_triton.masks, "cpu", inputs, lambda *size: prompt_parity.clicks(*size)[4:6])
    assert [check for check in checks if not check.passed] == []


def test_every_launch_of_prompting_is_compiled_with_its_grid():
    variants = prompt_triton.variants()
    fake = FakeKernels(variants)
    colors, prompts = torch.zeros((20, 90, 3), dtype=torch.uint8), prompt_parity.clicks(20, 90)

    def masks():
        for cut in (ReferenceCut(), MetricCut()):
            prompt_triton.masks(colors, prompts, cut)
        return []

    def all_of_it():
        prompt_triton.mask_with_confidence(colors, prompts[0], MetricCut())
        return masks()

    (check,) = check_all_run(fake, variants, lambda: 7, masks)  # type: ignore[arg-type]
    assert not check.passed
    assert check.detail == "prompt_join_counted, prompt_near_range"
    (check,) = check_all_run(fake, variants, lambda: 7, all_of_it)  # type: ignore[arg-type]
    assert check.passed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_every_launch_of_the_loss_is_compiled_with_its_grid(dtype):
    variants = loss_triton.variants()
    fake = FakeKernels(variants)
    pred, labels = torch.zeros((2, 3, 40, 50), dtype=dtype), torch.arange(4000).view(2, 40, 50) % 70
    with launching_compiled(fake, variants, lambda: 7) as ran:  # type: ignore[arg-type]
        loss_triton.loss_and_grad(pred, labels, [False, True], None, LossConfig(), True)
    colors = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    other = {"fp16", "bf16", "fp32"} - {colors}
    assert ran == {name for name in fake.variants if name.rpartition("_")[2] not in other}
    assert {stream for _, _, stream in fake.launches} == {7}
    assert all("run" not in vars(kernel) for kernel in loss_triton.KERNELS.values())


def test_a_launch_that_no_file_covers_is_refused():
    variants = loss_triton.variants()
    pred, labels = torch.zeros((1, 3, 8, 8)), torch.ones((1, 8, 8), dtype=torch.int64)
    with (
        pytest.raises(LaunchError, match="no compiled variant of sum_colors"),
        launching_compiled(FakeKernels(variants), variants, lambda: 0),  # type: ignore[arg-type]
    ):
        loss_triton.loss_and_grad(pred, labels, [False], None, LossConfig(), True, tiles=LARGE)
