"""The order, grids and memory of the loss's GPU kernels, and what they compile to; no GPU is needed."""

import re
from math import prod

import pytest

from gen2seg_kernels.aot.errors import LaunchError
from gen2seg_kernels.aot.grid import evaluate_grid
from gen2seg_kernels.loss import plan
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.plan import Shape, launches, scratch
from gen2seg_kernels.loss.tiles import TABLE, Tiles, candidates, tiles_for

OUTSIDE = {"pred", "dense", "order", "starts", "instances", "ignored", "terms", "grad"}
SHAPES = [Shape(2, 1, 2), Shape(1, 1, 1), Shape(3, 1000, 7), Shape(4, 480 * 640, 1251), Shape(1, 2**29 - 1, 2)]


def kernels():
    pytest.importorskip("triton")
    return pytest.importorskip("gen2seg_kernels.loss.triton")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("setting", [Tiles(), Tiles(sum_pixels=32, mean_pixels=256)], ids=["table", "other"])
@pytest.mark.parametrize("real", [4, 8], ids=["float32", "float64"])
def test_memory_is_linear_in_pixels_and_instances(shape, setting, real):
    sizes = {"real": real, "float64": 8}
    used = sum(sizes[kind] * prod(size) for kind, size in scratch(shape, setting).values())
    per_row = 188 if real == 4 else 232
    per_image = (4 + 56 / setting.sum_pixels) * shape.n_pixels + per_row * shape.n_rows + 56
    assert used <= shape.n_images * per_image


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_argument_has_a_value(shape):
    module = kernels()
    arrays = OUTSIDE | set(scratch(shape, Tiles()))
    planned = launches(shape, LossConfig(), Tiles(), True)
    assert [launch.kernel for launch in planned if shape.n_rows > 1] in ([], list(plan.GRIDS))
    for launch in planned:
        fixed = plan.constexprs(launch.kernel, Tiles())
        names = set(module.KERNELS[launch.kernel].arg_names) - set(fixed)
        pointers = {name for name in names if name.endswith("_ptr")}
        assert {name.removesuffix("_ptr") for name in pointers} <= arrays
        assert names - pointers <= set(launch.numbers)
        assert min(launch.grid) >= 1


def test_all_pixels_belong_to_a_segment():
    for shape in SHAPES:
        size, count = plan.segment_pixels(shape, Tiles()), plan.n_segments(shape, Tiles())
        assert size % Tiles().mean_pixels == 0
        if shape.n_rows > 1:
            assert (count - 1) * size < shape.n_pixels <= count * size


def test_without_gradient_and_without_instances_kernels_are_left_out():
    names = [launch.kernel for launch in launches(Shape(1, 9, 2), LossConfig(), Tiles(), False)]
    assert names == [name for name in plan.GRIDS if name != "push_pixels"]
    planned = launches(Shape(1, 9, 1), LossConfig(), Tiles(), True)
    assert "push_means" not in [launch.kernel for launch in planned]
    assert {launch.numbers["n_segments"] for launch in planned} == {0}


def test_too_many_images():
    with pytest.raises(LaunchError, match="65535"):
        launches(Shape(65536, 9, 2), LossConfig(), Tiles(), True)


def test_variants_are_what_the_plan_launches():
    module = kernels()
    found = module.variants()
    assert {v.name.removeprefix("loss_").removesuffix("_fp32") for v in found if "16" not in v.name} == set(plan.GRIDS)
    shape = Shape(2, 480 * 640, 51)
    seen = set()
    for variant in found:
        for architecture in variant.architectures or ():
            kernel = re.sub("^loss_|_(fp16|bf16|fp32)$", "", variant.name)
            planned = launches(shape, LossConfig(), TABLE[architecture], True)
            (launch,) = (launch for launch in planned if launch.kernel == kernel)
            counts = {name: value for name, value in launch.numbers.items() if isinstance(value, int)}
            assert evaluate_grid(variant.grid, counts) == launch.grid
            assert variant.constexprs == plan.constexprs(kernel, TABLE[architecture])
            assert variant.doc
            seen.add((variant.name, architecture))
    assert len(seen) == len({variant.name for variant in found}) * len(TABLE)


def test_variants_follow_the_table(monkeypatch):
    module = kernels()
    monkeypatch.setitem(TABLE, 90, Tiles(pixel_block=1024, measured_on="a card"))
    found = [v for v in module.variants() if v.name == "loss_push_pixels_fp32"]
    assert {v.constexprs["PIXELS"] for v in found if 90 in v.architectures} == {1024}
    assert {v.constexprs["PIXELS"] for v in found if 89 in v.architectures} == {TABLE[89].pixel_block}
    assert [v.name for v in module.variants()].count("loss_push_means_fp32") == 1


def test_no_atomics_and_no_spills():
    # The interpreter runs programs one by one: only the machine code tells that nothing depends on their order.
    module = kernels()
    compile_module = pytest.importorskip("gen2seg_kernels.aot.compile")
    all_of_them = [v for v in module.variants() if 75 in v.architectures]
    variants = [v for v in all_of_them if not v.name.endswith(("_fp16", "_bf16"))]
    assert len(variants) == len(plan.GRIDS)
    for variant in variants:
        compiled = compile_module.compile_variant(variant, 75)
        assert compiled.usage.spill_store_bytes == compiled.usage.stack_bytes == 0
        assert "atom." not in compiled.ptx
        assert "red.global" not in compiled.ptx


def test_closest_entry_of_the_table(monkeypatch):
    entry = Tiles(sum_pixels=512)
    monkeypatch.setitem(TABLE, 90, entry)
    assert tiles_for(90) is tiles_for(99) is entry
    assert tiles_for(61) is TABLE[75]
    assert tiles_for(200) is TABLE[120]
    for capability in (80, 86, 87):
        monkeypatch.setitem(TABLE, capability, Tiles(sum_rows=2, measured_on=str(capability)))
    assert tiles_for(87) is TABLE[87]
    assert tiles_for(88) is TABLE[86]  # whose file the launcher takes: no desktop card runs Orin's


def test_candidates_differ_and_start_with_what_is_in_use():
    found = list(candidates(Tiles(measured_on="a card")))
    assert found[0].measured_on == "a card"
    assert not any(other.measured_on for other in found[1:])
    assert len(set(found)) == len(found) > 10


@pytest.mark.parametrize(("name", "value"), [("sum_pixels", 48), ("mean_chain", 0), ("row_warps", 3)])
def test_sizes_that_do_not_compile_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Tiles(**{name: value})
