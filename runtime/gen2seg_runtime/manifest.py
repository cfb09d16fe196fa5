"""The manifest of a bundle (bundle.json): frozen records, a strict parser and a writer.

`Manifest.from_json` is the only place where a manifest is checked; `Manifest.to_json` reads its own
output back through it, so a manifest that cannot be opened cannot be written either.
"""

import dataclasses
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gen2seg_runtime import strict_json
from gen2seg_runtime.errors import BundleSchemaError
from gen2seg_runtime.strict_json import Reader

SCHEMA = "gen2seg.bundle/1.0"
MANIFEST_NAME = "bundle.json"
MAX_MANIFEST_BYTES = 1 << 20
_SHA256 = "[0-9a-f]{64}"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """Where the weights come from. `state` is "trained" or "untrained"."""

    state: str
    source: str
    sha256: str | None = None  # of the source checkpoint, lower-case hex; None where there is no file
    parameters: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            state=reader.text("state", choices=("trained", "untrained")),
            source=reader.text("source"),
            sha256=reader.text("sha256", pattern=_SHA256, default=None, nullable=True),
            parameters=reader.integer("parameters", 0, default=0),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class LicenceInfo:
    """Terms of the code and of the weights (SPDX name or free text) and their use limits."""

    code: str
    weights: str
    use_limits: tuple[str, ...] = ()
    attribution: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            code=reader.text("code"),
            weights=reader.text("weights"),
            use_limits=reader.texts("use_limits", default=[]),
            attribution=reader.text("attribution", default=""),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The graph: its path inside the bundle (must be listed in `files` with role "model")."""

    path: str = "model.onnx"
    opset: int = 18
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            path=reader.custom("path", "a relative path inside the bundle", checked_path),
            opset=reader.integer("opset", 1, 1000),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class ResizeSpec:
    """How a picture comes to processing size.

    "longest_side": the longer side becomes `size` pixels if it is longer, or `enlarge_below` if it
    is shorter than that; otherwise the picture keeps its size. The aspect ratio is kept, the shorter
    side is rounded to nearest (half up) and at least 1. "fixed": exactly `InputSpec.buckets[0]`.
    """

    rule: str = "longest_side"
    size: int = 640
    enlarge_below: int = 0
    interpolation: str = "bilinear_antialias"  # PIL Image.resize(BILINEAR)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        size = reader.integer("size", 1, 1 << 16)
        return cls(
            rule=reader.text("rule", choices=("longest_side", "fixed")),
            size=size,
            enlarge_below=reader.integer("enlarge_below", 0, size, default=0),
            interpolation=reader.text("interpolation", choices=("bilinear_antialias",)),
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
    """What the graph takes: x = (colour / scale - mean) / std, one value of mean and std a channel."""

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
    buckets: tuple[tuple[int, int], ...] = ()  # (height, width) of a graph whose size is fixed
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
        if spec.resize.rule == "fixed" and not spec.buckets:
            reader.fail("buckets", 'a size, since the resize rule is "fixed"', [])
        if not spec.dynamic and spec.resize.rule != "fixed":
            reader.fail("resize.rule", '"fixed", since the graph is not dynamic', spec.resize.rule)
        if any(side % spec.pad.multiple for bucket in spec.buckets for side in bucket):
            reader.fail("buckets", f"multiples of pad.multiple ({spec.pad.multiple})", spec.buckets)
        return spec


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the graph returns and how it becomes colours 0..255 (`gen2seg_runtime.colors`)."""

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


@dataclass(frozen=True, kw_only=True)
class PromptSpec:
    """Defaults of `Encoding.mask`."""

    mode: str = "metric"
    sigma: float = 0.01  # mode "reference": of the Gaussian around the point, image side = 1
    threshold: int = 3  # mode "reference": cut of the filtered similarity, 0..255
    distance: float = 40.0  # mode "metric": colour distance of the cut, channels run 0..255
    connected: bool = True  # mode "metric": only what is connected to the point
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            mode=reader.text("mode", choices=("metric", "reference")),
            sigma=reader.number("sigma", above=0.0, default=0.01),
            threshold=reader.integer("threshold", 0, 255, default=3),
            distance=reader.number("distance", above=0.0, default=40.0),
            connected=reader.flag("connected", default=True),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class InstanceSpec:
    """Defaults of `Encoding.instances` (`gen2seg_runtime.instances.find_instances`)."""

    distance: float = 40.0
    background: float = 40.0
    min_area: int = 16
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            distance=reader.number("distance", above=0.0, default=40.0),
            background=reader.custom("background", "a number from 0 to 442", _background, default=40.0),
            min_area=reader.integer("min_area", 1, default=16),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class PrecisionSpec:
    """Number formats of the stored weights and of the arithmetic; nodes kept wide are named."""

    weights: str = "float32"
    compute: str = "float32"
    wide_nodes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            weights=reader.text("weights"),
            compute=reader.text("compute"),
            wide_nodes=reader.texts("wide_nodes", default=[]),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of the bundle. Roles used here: "model", "model_data" (external weights), "golden"."""

    path: str
    role: str
    bytes: int
    sha256: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            path=reader.custom("path", "a relative path inside the bundle", checked_path),
            role=reader.text("role"),
            bytes=reader.integer("bytes", 0),
            sha256=reader.text("sha256", pattern=_SHA256),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class GoldenRecord:
    """A picture and the colours the bundle must give for it, up to `max_difference` a channel."""

    image: str
    colors: str
    max_difference: int = 2
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            image=reader.custom("image", "a relative path inside the bundle", checked_path),
            colors=reader.custom("colors", "a relative path inside the bundle", checked_path),
            max_difference=reader.integer("max_difference", 0, 255),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of bundle.json. `extra` of each record holds the fields this version does not know."""

    name: str
    backbone: str
    version: str
    weights: WeightsInfo
    licence: LicenceInfo
    files: tuple[FileRecord, ...]
    schema: str = SCHEMA
    model: ModelSpec = field(default_factory=ModelSpec)
    input: InputSpec = field(default_factory=InputSpec)
    output: OutputSpec = field(default_factory=OutputSpec)
    prompt: PromptSpec = field(default_factory=PromptSpec)
    instances: InstanceSpec = field(default_factory=InstanceSpec)
    precision: PrecisionSpec = field(default_factory=PrecisionSpec)
    folded: Mapping[str, Any] = field(default_factory=dict)
    goldens: tuple[GoldenRecord, ...] = ()
    verification: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    created_by: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes, where: str = MANIFEST_NAME) -> Self:
        """Parse and check a manifest.

        Args:
            text: JSON, at most 1 MiB; bytes must be UTF-8.
            where: name used in messages.
        Raises:
            BundleSchemaError: not strict JSON, another major schema, a missing field, a field of the
                wrong type or value, a path that leaves the bundle or is listed twice, or a model or
                golden that is not listed in `files`.
        Warns:
            BundleWarning: for each field that is not known; it is kept in `extra`.
        """
        try:
            raw = text.encode() if isinstance(text, str) else text
            text = raw.decode("utf-8")
        except UnicodeError as error:
            raise BundleSchemaError(f"{where}: not UTF-8 text: {error}") from error
        if len(raw) > MAX_MANIFEST_BYTES:
            raise BundleSchemaError(f"{where}: {len(raw)} bytes, at most {MAX_MANIFEST_BYTES} are read")
        data = strict_json.parse(text, where, BundleSchemaError)
        strict_json.check_schema(data, where, SCHEMA, BundleSchemaError)
        manifest = cls._read(Reader(data, where, BundleSchemaError))
        _check_files(manifest, where)
        return manifest

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        return cls(
            schema=reader.text("schema"),
            name=reader.text("name", pattern=_NAME),
            backbone=reader.text("backbone", pattern=_NAME),
            version=reader.text("version", pattern=_NAME),
            weights=WeightsInfo.read(reader.section("weights")),
            licence=LicenceInfo.read(reader.section("licence")),
            model=ModelSpec.read(reader.section("model")),
            input=InputSpec.read(reader.section("input")),
            output=OutputSpec.read(reader.section("output")),
            prompt=PromptSpec.read(reader.section("prompt")),
            instances=InstanceSpec.read(reader.section("instances", default={})),
            precision=PrecisionSpec.read(
                reader.section("precision", default={"weights": "float32", "compute": "float32"})
            ),
            folded=reader.mapping("folded", default={}),
            files=tuple(FileRecord.read(item) for item in reader.items("files")),
            goldens=tuple(GoldenRecord.read(item) for item in reader.items("goldens", default=[])),
            verification=reader.mapping("verification", default={}),
            resources=reader.mapping("resources", default={}),
            created_by=reader.mapping("created_by", default={}),
            extra=reader.rest(),
        )

    def to_json(self) -> str:
        """The manifest as indented JSON with a final newline.

        Raises:
            BundleSchemaError: this record would not be accepted by `from_json`.
        """
        try:
            text = json.dumps(record_to_dict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise BundleSchemaError(f"{MANIFEST_NAME}: cannot be written as JSON: {error}") from error
        Manifest.from_json(text)
        return text

    def file(self, path: str) -> FileRecord:
        """The record of the file at `path`; KeyError if the manifest does not list it."""
        for record in self.files:
            if record.path == path:
                return record
        raise KeyError(path)


def record_to_dict(record: Any) -> dict[str, Any]:
    """A manifest record as plain JSON objects; its `extra` fields are put back where they were."""
    result: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        if item.name != "extra":
            result[item.name] = _plain(getattr(record, item.name))
    return result | dict(record.extra)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return record_to_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def checked_path(value: Any) -> str:
    """Return `value` if it is a plain relative POSIX path that stays inside its folder.

    Raises:
        ValueError: absolute, empty, with "..", ".", a backslash, a colon or a control character, or
            the manifest itself.
        TypeError: not a string.
    """
    if not isinstance(value, str):
        raise TypeError("a path is a string")
    parts = value.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    # ":" and "\\" mean a drive, a stream or a folder on Windows.
    if not plain or len(value) > 500 or re.search(r"[\\:\x00-\x1f\x7f]", value) or value == MANIFEST_NAME:
        raise ValueError(f"{value!r} is not a relative path inside the bundle")
    return value


def _buckets(value: Any) -> tuple[tuple[int, int], ...]:
    buckets = tuple((height, width) for height, width in value)
    for side in (side for bucket in buckets for side in bucket):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1 << 16:
            raise ValueError(side)
    return buckets


def _background(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 442:
        raise ValueError(value)
    return float(value)


def _check_files(manifest: Manifest, where: str) -> None:
    seen: dict[str, str] = {}
    for record in manifest.files:
        # Names that one file system keeps apart and another does not would be one file there.
        key = unicodedata.normalize("NFC", record.path).casefold()
        if key in seen:
            raise BundleSchemaError(f"{where}.files: {record.path!r} is listed twice (as {seen[key]!r})")
        seen[key] = record.path
    listed = {record.path: record.role for record in manifest.files}
    if listed.get(manifest.model.path) != "model":
        raise BundleSchemaError(f'{where}.files: {manifest.model.path!r} must be listed with role "model"')
    for golden in manifest.goldens:
        for path in (golden.image, golden.colors):
            if path not in listed:
                raise BundleSchemaError(f"{where}.goldens: {path!r} is not listed in files")
