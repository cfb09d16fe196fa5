"""Which sizes a bundle takes: the network's own, fixed buckets, or any."""

from collections.abc import Sequence
from dataclasses import replace

from gen2seg_export.errors import ExportError
from gen2seg_runtime.manifest import InputSpec


def pair_sizes(heights: Sequence[int], widths: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """--height and --width, each given once a bucket, as (height, width) pairs in their order.

    Raises:
        ExportError: not as many of the one as of the other, or a pair twice.
    """
    if len(heights) != len(widths):
        raise ExportError(f"height and width go together, got heights {list(heights)} and widths {list(widths)}")
    sizes = tuple(zip(heights, widths, strict=True))
    if len(set(sizes)) != len(sizes):
        raise ExportError(f"each size may be given once, got {list(sizes)}")
    return sizes


def settle_input(spec: InputSpec, sizes: Sequence[tuple[int, int]], dynamic: bool) -> InputSpec:
    """The manifest's input for the sizes that were asked for.

    Args:
        spec: as the backbone says it: its own sizes.
        sizes: buckets that pictures are fitted into; empty leaves the backbone's own.
        dynamic: any size, by the longer side, in place of buckets.
    Raises:
        ExportError: both were asked for, a size is no multiple of the stride, or the network takes one size only.
    """
    if sizes and dynamic:
        raise ExportError("fixed sizes (height, width) and dynamic exclude each other")
    own_size_only = not spec.dynamic and spec.resize.rule == "fixed"
    if own_size_only and (dynamic or any(size not in spec.buckets for size in sizes)):
        raise ExportError(f"this network takes pictures of {_named(spec.buckets)} only, got {_asked(sizes)}")
    if own_size_only or not (sizes or dynamic):
        return spec
    if dynamic:
        size = spec.resize.size
        least = spec.resize.enlarge_below if spec.resize.rule == "longest_side" else size
        resize = replace(spec.resize, rule="longest_side", enlarge_below=least)
        return replace(spec, resize=resize, dynamic=True, buckets=())
    multiple = spec.pad.multiple
    if any(side < 1 or side % multiple for size in sizes for side in size):
        raise ExportError(f"height and width must be positive multiples of {multiple}, got {_named(sizes)}")
    resize = replace(spec.resize, rule="fit", size=max(max(size) for size in sizes), enlarge_below=0)
    return replace(spec, resize=resize, dynamic=False, buckets=tuple(sizes))


def _named(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes)


def _asked(sizes: Sequence[tuple[int, int]]) -> str:
    return _named(sizes) or "dynamic"
