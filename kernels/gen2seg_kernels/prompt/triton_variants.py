"""Every Triton kernel of prompting with what is fixed when it is compiled: the one list that launches and AOT read."""

from typing import Any

from gen2seg_kernels.prompt import triton_field as field
from gen2seg_kernels.prompt import triton_metric as metric
from gen2seg_kernels.prompt import triton_reference as reference
from gen2seg_kernels.variants import KernelVariant

# An argument of one name has one type in all kernels; the others are "i32".
_POINTERS = {
    "colors": "*u8",
    "pixels": "*i32",
    "points": "*fp64",
    "facts": "*fp64",
    "sums": "*i64",
    "near": "*u8",
    "plane": "*u8",
    "tiles": "*u8",
    "mask": "*u8",
    "doubts": "*u8",
    "similarity": "*u8",
    "tables": "*fp32",
    "labels": "*i32",
    "starts": "*i32",
    "out": "*u8",
    "counts": "*i32",
}
_TILE = {"TILE_H": field.TILE_H, "TILE_W": field.TILE_W}
_FLAT = {"BLOCK": field.BLOCK}

_TILES = (f"cdiv(height, {field.TILE_H}) * cdiv(width, {field.TILE_W})", "n_points", "1")
_RUNS = {"BLOCK": metric.RUN_BLOCK}
_BLOCKS = (f"cdiv(height * width, {metric.RUN_BLOCK})", "n_points", "1")
_POINTS = ("n_points", "1", "1")
_IMAGES = (f"cdiv(n_pixels, {field.BLOCK})", "n_images", "1")
_PROMPTS = (f"cdiv(n_pixels, {field.BLOCK})", "n_prompts", "1")
_QUERIES = (str(reference.SPLIT), "n_points", "1")
_RANGES = (f"n_points * cdiv(n_pixels, {reference.RANGE_BLOCK})", "1", "1")


def _variant(
    name: str, kernel: Any, grid: tuple[str, str, str], constexprs: dict[str, Any], doc: str, num_warps: int = 4
) -> KernelVariant:
    types = {argument: _POINTERS.get(argument, "i32") for argument in kernel.arg_names}
    signature = types | dict.fromkeys(constexprs, "constexpr")
    return KernelVariant(f"prompt_{name}", kernel, signature, constexprs, grid, num_warps, doc=doc)


PACK = _variant("pack", field.pack_kernel, _IMAGES, _FLAT, "colours to one word a pixel")

QUERY = _variant(
    "query", reference.query_kernel, _QUERIES, {"SPLIT": reference.SPLIT, "BLOCK": 128}, "Gaussian sums around points"
)
RANGE = _variant(
    "range", reference.range_kernel, _RANGES, {"BLOCK": reference.RANGE_BLOCK}, "range of the colour distance"
)
LIMIT = _variant(
    "limit", reference.limit_kernel, _POINTS, {"LANES": reference.LIMIT_LANES}, "similarity's cut as a distance", 1
)
NEAR = _variant("near", field.near_kernel, _TILES, {"PARTS": 1} | _TILE, "pixels within one distance of the query")
DOUBT = _variant("doubt", reference.doubt_kernel, _TILES, _TILE, "windows on one side of the cut, and the others")
SIMILARITY = _variant("similarity", reference.similarity_kernel, _TILES, _TILE, "similarity where the filter needs it")
FILTER = _variant("filter", reference.filter_kernel, _TILES, _TILE, "joint bilateral filter where the cut is in doubt")

MEAN = _variant(
    "mean", metric.mean_kernel, _POINTS, {"LANES": metric.QUERY_LANES}, "mean colour of a click's neighbourhood", 1
)
NEAR_RANGE = _variant(
    "near_range", field.near_kernel, _TILES, {"PARTS": 3} | _TILE, "pixels within three distances of the query"
)
LABEL = _variant("label", metric.label_kernel, _BLOCKS, _RUNS, "a label for each run of near pixels")
LINK = _variant("link", metric.link_kernel, _BLOCKS, _RUNS, "links the labels of runs that touch")
KEEP = _variant("keep", metric.keep_kernel, _BLOCKS, _RUNS, "drops what is not connected to the click")

JOIN = _variant("join", field.join_kernel, _PROMPTS, {"COUNT": False} | _FLAT, "positive points less negative ones")
JOIN_COUNTED = _variant(
    "join_counted", field.join_kernel, _PROMPTS, {"COUNT": True} | _FLAT, "the same, and what the confidence counts"
)

ALL = [
    PACK,
    QUERY,
    RANGE,
    LIMIT,
    NEAR,
    DOUBT,
    SIMILARITY,
    FILTER,
    MEAN,
    NEAR_RANGE,
    LABEL,
    LINK,
    KEEP,
    JOIN,
    JOIN_COUNTED,
]
