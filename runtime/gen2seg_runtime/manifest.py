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
from gen2seg_runtime.io_spec import InputSpec, OutputSpec
from gen2seg_runtime.io_spec import PadSpec as PadSpec
from gen2seg_runtime.io_spec import ResizeSpec as ResizeSpec
from gen2seg_runtime.strict_json import Reader

SCHEMA = "gen2seg.bundle/1.1"
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
    """The graph of the first stage: its path inside the bundle (listed in `files` with role "model")."""

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
    plan: Mapping[str, Any] = field(default_factory=dict)  # why they stay wide, as measured
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            weights=reader.text("weights"),
            compute=reader.text("compute"),
            wide_nodes=reader.texts("wide_nodes", default=[]),
            plan=reader.mapping("plan", default={}),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One network of the chain: float32 (N, C, H, W) in and out, whatever it computes in.

    The first stage takes the picture, each other one what the stage before it gave, and the last one gives
    the raw colours.
    """

    name: str
    path: str  # its ONNX graph, listed in `files` with role "model"
    input: str  # names of the graph's tensors
    output: str
    precision: PrecisionSpec = field(default_factory=PrecisionSpec)
    artifacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # backend -> listed files made for it
    facts: Mapping[str, Any] = field(default_factory=dict)  # backend -> how its artifact was made: key, checks, ...
    backend: str | None = None  # what "auto" runs this stage with where it can; None: no preference
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            name=reader.text("name", pattern=_NAME),
            path=reader.custom("path", "a relative path inside the bundle", checked_path),
            input=reader.text("input"),
            output=reader.text("output"),
            precision=PrecisionSpec.read(reader.section("precision")),
            artifacts=reader.custom("artifacts", "lists of relative paths by backend", _artifacts, default={}),
            facts=reader.mapping("facts", default={}),
            backend=reader.text("backend", pattern=_NAME, default=None, nullable=True),
            extra=reader.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """One file of the bundle.

    Roles: "model" (an ONNX graph), "model_data" (external weights of a graph in the same folder),
    "artifact" (made from a graph for one backend), "golden", "kernel".
    """

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
    """A picture and the colours the bundle must give for it, made by the network before any rounding.

    Attributes:
        image, colors: PNG files.
        max_difference: of the colours, at any pixel and channel.
        min_psnr: of the colours, dB; None sets no limit.
        stages: stage -> a float32 .npy file (1, C, H, W) with what it must give; the last stage needs none.
        max_relative: of a stage: root mean square difference over the standard deviation of what is expected.
    """

    image: str
    colors: str
    max_difference: int = 2
    min_psnr: float | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    max_relative: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(
            image=reader.custom("image", "a relative path inside the bundle", checked_path),
            colors=reader.custom("colors", "a relative path inside the bundle", checked_path),
            max_difference=reader.integer("max_difference", 0, 255),
            min_psnr=reader.number("min_psnr", default=None, nullable=True),
            stages=reader.custom("stages", "relative paths by stage", _golden_stages, default={}),
            max_relative=reader.number("max_relative", above=0.0, default=None, nullable=True),
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
    stages: tuple[StageSpec, ...] = ()  # empty: one stage, see `chain`
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
        if not isinstance(text, str | bytes):
            raise BundleSchemaError(f"{where}: expected JSON text, got {type(text).__name__}")
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
            stages=tuple(StageSpec.read(item) for item in reader.items("stages", default=[])),
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

    @property
    def chain(self) -> tuple[StageSpec, ...]:
        """The networks in the order they run; a manifest without stages has one, "network", the model's."""
        if self.stages:
            return self.stages
        return (
            StageSpec(
                name="network",
                path=self.model.path,
                input=self.input.name,
                output=self.output.name,
                precision=self.precision,
            ),
        )

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
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


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


def _artifacts(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise TypeError("artifacts are an object")
    result = {}
    for name, paths in value.items():
        if not re.fullmatch(_NAME, name) or not isinstance(paths, list) or not paths:
            raise ValueError(name)
        result[name] = tuple(checked_path(path) for path in paths)
    return result


def _golden_stages(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("stages are an object")
    return {name: checked_path(path) for name, path in value.items()}


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
    _check_stages(manifest, listed, where)
    for golden in manifest.goldens:
        for path in (golden.image, golden.colors, *golden.stages.values()):
            if path not in listed:
                raise BundleSchemaError(f"{where}.goldens: {path!r} is not listed in files")


def _check_stages(manifest: Manifest, listed: Mapping[str, str], where: str) -> None:
    if not manifest.stages:
        return
    names = [stage.name for stage in manifest.stages]
    if len(set(names)) != len(names):
        raise BundleSchemaError(f"{where}.stages: expected a name of its own for each stage, found {names}")
    ends = (manifest.stages[0].path, manifest.stages[0].input, manifest.stages[-1].output)
    promised = (manifest.model.path, manifest.input.name, manifest.output.name)
    if ends != promised:
        raise BundleSchemaError(
            f"{where}.stages: the model's path, the input's and the output's name are {promised}, the chain has {ends}"
        )
    for stage in manifest.stages:
        if listed.get(stage.path) != "model":
            raise BundleSchemaError(f'{where}.files: {stage.path!r} must be listed with role "model"')
        for path in (path for paths in stage.artifacts.values() for path in paths):
            if path not in listed:
                raise BundleSchemaError(f"{where}.stages: {path!r} of stage {stage.name!r} is not listed in files")
