"""How pictures go into a bundle's network and how its output becomes colours: records of the manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gen2seg_runtime.strict_json import Reader

INTERPOLATIONS = ("bilinear_antialias", "bilinear_antialias_float")
ROUNDINGS = ("nearest", "down")


@dataclass(frozen=True, kw_only=True)
class ResizeSpec:
    """How a picture comes to processing size.

    "longest_side": the longer side becomes `size` pixels if it is longer, or `enlarge_below` if it
    is shorter than that (so it always becomes `size` where both are equal); otherwise the picture keeps
    its size. The aspect ratio is kept, the shorter side is rounded by `rounding` and at least 1.
    "fit": as large as fits into one of `InputSpec.buckets`, the aspect ratio kept and rounded likewise (rounding
    "down", the longer side fills the bucket's if the rounded shorter one then fits); the
    rest of the bucket is filled by repeating the right and bottom edge. "fixed": exactly the size of the
    bucket, whatever the aspect ratio. Of several buckets both take the one that the picture fills best (of
    equals the smallest that need not shrink it, else the largest; `preprocess.choose_bucket`).

    Interpolation "bilinear_antialias" is PIL's Image.resize(BILINEAR) on the uint8 picture, and
    "bilinear_antialias_float" the same filter on each channel as float32 (PIL mode F), without a rounding
    to whole numbers.
    """

    rule: str = "longest_side"
    size: int = 640
    enlarge_below: int = 0
    interpolation: str = "bilinear_antialias"
    rounding: str = "nearest"  # half up; or "down"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        size = reader.integer("size", 1, 1 << 16)
        return cls(
            rule=reader.text("rule", choices=("longest_side", "fit", "fixed")),
            size=size,
            enlarge_below=reader.integer("enlarge_below", 0, size, default=0),
            interpolation=reader.text("interpolation", choices=INTERPOLATIONS),
            rounding=reader.text("rounding", choices=ROUNDINGS, default="nearest"),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class PadSpec:
    """After the resize the right and bottom edges are repeated up to a multiple of `multiple`."""

    multiple: int = 32
    mode: str = "replicate"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            multiple=reader.integer("multiple", 1, 4096),
            mode=reader.text("mode", choices=("replicate",)),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the network takes: x = (colour / scale - mean) / std, one value of mean and std a channel."""

    name: str = "image"
    layout: str = "NCHW"
    dtype: str = "float32"
    color_order: str = "RGB"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    resize: ResizeSpec = field(default_factory=ResizeSpec)
    pad: PadSpec = field(default_factory=PadSpec)
    dynamic: bool = True
    buckets: tuple[tuple[int, int], ...] = ()  # the (height, width) that the network is run at; () leaves it free
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        spec = cls(
            name=reader.text("name"),
            layout=reader.text("layout", choices=("NCHW",)),
            dtype=reader.text("dtype", choices=("float32",)),
            color_order=reader.text("color_order", choices=("RGB", "BGR")),
            scale=reader.number("scale", above=0.0),
            mean=reader.numbers("mean", 3),
            std=reader.numbers("std", 3, above=0.0),
            resize=ResizeSpec.read(reader.section("resize")),
            pad=PadSpec.read(reader.section("pad")),
            dynamic=reader.flag("dynamic"),
            buckets=reader.custom("buckets", "a list of [height, width] from 1 to 65536", _buckets, default=[]),
            extra=reader.rest(),
        )
        rule = spec.resize.rule
        if rule != "longest_side" and not spec.buckets:
            reader.fail("buckets", f'a size, since the resize rule is "{rule}"', [])
        if not spec.dynamic and rule == "longest_side":
            reader.fail("resize.rule", '"fit" or "fixed", since the graph is not dynamic', rule)
        if any(side % spec.pad.multiple for bucket in spec.buckets for side in bucket):
            reader.fail("buckets", f"multiples of pad.multiple ({spec.pad.multiple})", spec.buckets)
        return spec


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the network returns and how it becomes colours 0..255 (`gen2seg_runtime.colors`)."""

    name: str = "colors"
    layout: str = "NCHW"
    dtype: str = "float32"
    normalization: str = "fixed"
    range: tuple[float, ...] | None = (0.0, 255.0)  # used by "fixed" only
    gamma: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        spec = cls(
            name=reader.text("name"),
            layout=reader.text("layout", choices=("NCHW",)),
            dtype=reader.text("dtype", choices=("float32",)),
            normalization=reader.text("normalization", choices=("fixed", "sd", "mae")),
            range=reader.numbers("range", 2, nullable=True),
            gamma=reader.number("gamma", above=0.0, default=None, nullable=True),
            extra=reader.rest(),
        )
        if spec.range is None and spec.normalization == "fixed":
            reader.fail("range", 'two numbers, since the normalization is "fixed"', None)
        if spec.range is not None and not spec.range[0] < spec.range[1]:
            reader.fail("range", "a lower bound below the upper one", spec.range)
        return spec


def _buckets(value: Any) -> tuple[tuple[int, int], ...]:
    buckets = tuple((height, width) for height, width in value)
    for side in (side for bucket in buckets for side in bucket):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1 << 16:
            raise ValueError(side)
    return buckets
