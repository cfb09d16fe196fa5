"""Training configuration: one frozen record per run, read from TOML and checked once.

A run is named (a file shipped in `gen2seg/configs`) or given as a path; `--set a.b=value` overrides single
keys, the value being TOML (`--set optimizer.lr=3e-4`, `--set output='"runs/x"'`; bare words are strings).
"""

import difflib
import tomllib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from gen2seg_kernels.loss.config import LossConfig
from gen2seg_runtime.errors import Gen2SegError


class ConfigError(Gen2SegError, ValueError):
    """A configuration that cannot be used; the message names file and key."""


@dataclass(frozen=True)
class StageConfig:
    """From `from_step` on, scenes of `size` pixels in batches of `batch` (over all processes)."""

    from_step: int
    size: int
    batch: int

    def __post_init__(self) -> None:
        if self.from_step < 0 or self.batch < 1 or self.size < 64 or self.size % 32:
            raise ConfigError(
                "a stage needs from_step >= 0, batch >= 1 and a size that is a multiple of 32, at least 64; "
                f"got from_step {self.from_step}, batch {self.batch}, size {self.size}"
            )


@dataclass(frozen=True)
class DataConfig:
    """Procedural scenes; `first_seed` separates runs that must not share scenes.

    Scenes keep their layout at every size, so a larger size means larger objects, in pixels. `cycle` takes
    the stages in turn, one a step, and trains on all of them at once.
    """

    stages: tuple[StageConfig, ...] = (StageConfig(0, 256, 8),)
    cycle: bool = False
    first_seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        starts = [stage.from_step for stage in self.stages]
        if self.cycle and (not starts or any(starts)):
            raise ConfigError(f"data.stages of a cycle all start at step 0, got from_step {starts}")
        if not self.cycle and (not starts or starts[0] != 0 or starts != sorted(set(starts))):
            raise ConfigError(f"data.stages must start at step 0 and rise, got from_step {starts}")
        if self.workers < 0 or self.first_seed < 0:
            raise ConfigError(f"data.workers and data.first_seed must be >= 0, got {self.workers}, {self.first_seed}")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up, a constant middle and a linear decay over the last `decay_steps`."""

    lr: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02  # on matrices and filters only
    warmup_steps: int = 200
    decay_steps: int = 0
    final_lr_ratio: float = 0.02
    gradient_clip: float = 1.0
    accumulate: int = 1
    ema_decay: float = 0.998

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.gradient_clip > 0 and self.accumulate >= 1):  # NaN fails too
            raise ConfigError(
                "optimizer.lr and optimizer.gradient_clip must be positive and optimizer.accumulate >= 1, "
                f"got {self.lr}, {self.gradient_clip}, {self.accumulate}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"optimizer.ema_decay must be in [0, 1), got {self.ema_decay}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optimizer.betas must be in [0, 1), got {self.betas}")
        if not (
            self.weight_decay >= 0 and self.warmup_steps >= 0 and self.decay_steps >= 0 and self.final_lr_ratio >= 0
        ):
            raise ConfigError(
                "optimizer.weight_decay, warmup_steps, decay_steps and final_lr_ratio must be >= 0, got "
                f"{self.weight_decay}, {self.warmup_steps}, {self.decay_steps}, {self.final_lr_ratio}"
            )


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the three objectives; those at 0 are not computed."""

    contrastive: float = 1.0  # pixel pairs and instance means: teaches a fresh network to paint
    coloring: float = 0.0  # the paper's instance colouring loss
    reconstruction: float = 0.0  # generative pretraining: repaint the picture from a damaged copy
    coloring_options: dict[str, float] = field(default_factory=dict)  # inter_weight, huber_delta, ...

    def __post_init__(self) -> None:
        weights = (self.contrastive, self.coloring, self.reconstruction)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(f"objective weights must be >= 0 and not all 0, got {weights}")
        if self.reconstruction and (self.contrastive or self.coloring):
            raise ConfigError(
                "objective.reconstruction pretrains on damaged pictures and goes alone: set the others to 0"
            )
        try:
            LossConfig(**self.coloring_options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"objective.coloring_options: {error}") from error


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. `steps` counts optimizer steps, `output` is the run's folder."""

    steps: int
    output: str
    backbone: str = "tiny"
    architecture: dict[str, Any] = field(default_factory=dict)  # arguments of the backbone's config
    init: str | None = None  # checkpoint directory whose weights the run starts from
    seed: int = 0
    mixed_precision: str = "bf16"  # "bf16", "fp16" or "no"
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 50
    tensorboard: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.checkpoint_every < 1 or self.keep_checkpoints < 1 or self.log_every < 1:
            raise ConfigError("steps, checkpoint_every, keep_checkpoints and log_every must be at least 1")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision must be no, bf16 or fp16, got {self.mixed_precision!r}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("gen2seg") / "configs"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_config(name_or_path: str, overrides: list[str] | tuple[str, ...] = ()) -> TrainConfig:
    """Read a shipped or own TOML file and apply `key=value` overrides.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key (with a suggestion), wrong type or value.
    """
    source, text = _read(name_or_path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error
    for override in overrides:
        _apply_override(values, override)
    for key in ("steps", "output"):
        if key not in values:
            raise ConfigError(f"{source}: the key {key!r} is missing")
    return _build(TrainConfig, values, source, "")


def _read(name_or_path: str) -> tuple[str, str]:
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        try:
            return str(path), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a configuration: {error}") from error
    names = shipped_configs()
    if name_or_path not in names:
        raise ConfigError(f"unknown configuration {name_or_path!r}; shipped: {', '.join(names)}; or give a .toml path")
    resource = resources.files("gen2seg") / "configs" / f"{name_or_path}.toml"
    return name_or_path, resource.read_text(encoding="utf-8")


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent!r} is not a table")
    values[last] = value


def _build(kind: type, values: Any, source: str, where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: {where or 'the file'} must be a table, got {values!r}")
    known = {item.name for item in fields(kind)}
    types = get_type_hints(kind)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"{source}: unknown key {where + key!r}{hint}")
    try:
        return kind(**{key: _convert(types[key], value, source, where + key) for key, value in values.items()})
    except ConfigError as error:
        if str(error).startswith(source):
            raise
        raise ConfigError(f"{source}: {error}") from error


def _convert(kind: Any, value: Any, source: str, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, source, where + ".")
    if origin is UnionType:
        if value is None and NoneType in arguments:
            return None
        return _convert(next(a for a in arguments if a is not NoneType), value, source, where)
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, source, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) == len(arguments):
            return tuple(
                _convert(a, v, source, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True))
            )
    if origin is dict and isinstance(value, dict):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    expected = kind.__name__ if isinstance(kind, type) else str(kind)
    raise ConfigError(f"{source}: {where} must be {expected}, got {value!r}")
