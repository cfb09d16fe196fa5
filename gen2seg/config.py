"""Training configuration: one frozen record per run, read from TOML and checked once.

A run is named (a file shipped in `gen2seg/configs`) or given as a path; `--set a.b=value` overrides single
keys, the value being TOML (`--set optimizer.lr=3e-4`, `--set output='"runs/x"'`; bare words are strings).
"""

from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from gen2seg.toml_records import ConfigError, parse_toml, read_record
from gen2seg_kernels.loss.config import LossConfig

FITS = ("resize", "crop", "cover")
SCHEDULES = ("linear", "exponential", "cosine")
TRAINED_PARTS = ("all", "decoder", "last", "head")


@dataclass(frozen=True)
class StageConfig:
    """From `from_step` on, scenes of `size` pixels, `batch` of them in a micro-batch."""

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
class SourceConfig:
    """A data set among those that a run mixes; `kind` names its layout (`gen2seg.data.sets`).

    Environment variables and ~ in `root` are replaced. `categories` are names, or one of the groups "five" and "ten"
    of the paper's ablation. `options` are those of the kind.
    """

    kind: str
    root: str
    weight: float = 1.0  # share of the micro-batches, relative to the other sources'
    size: tuple[int, int] = (480, 640)  # (height, width) that is trained on
    fit: str = "resize"  # "resize", "crop" or "cover", see gen2seg.data.augment
    flip: float = 0.5  # probability of a horizontal flip
    least_objects: int = 0  # scenes with fewer are dropped
    categories: tuple[str, ...] = ()  # train on these only
    ignore_background: bool | None = None  # None: as the data set says
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.weight > 0 and 0 <= self.flip <= 1 and self.least_objects >= 0):
            raise ConfigError(
                "a source needs weight > 0, flip in [0, 1] and least_objects >= 0, "
                f"got {self.weight}, {self.flip}, {self.least_objects}"
            )
        if min(self.size) < 8 or self.fit not in FITS:
            raise ConfigError(
                f"a source needs a size of at least 8 and fit one of {', '.join(FITS)}, got {self.size}, {self.fit!r}"
            )


@dataclass(frozen=True)
class DataConfig:
    """What is trained on: data sets (`sources`), or procedural scenes where there are none.

    `sources` are mixed: each micro-batch has `batch` pictures of one of them. Scenes are drawn in `stages`:
    `first_seed` separates runs that must not share scenes; they keep their layout at every size, so a larger size
    means larger objects, in pixels; `cycle` takes the stages in turn, one a step, and trains on all of them at once.
    """

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    batch: int = 2
    stages: tuple[StageConfig, ...] = (StageConfig(0, 256, 8),)
    cycle: bool = False
    first_seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"data.batch must be at least 1, got {self.batch}")
        starts = [stage.from_step for stage in self.stages]
        if self.cycle and (not starts or any(starts)):
            raise ConfigError(f"data.stages of a cycle all start at step 0, got from_step {starts}")
        if not self.cycle and (not starts or starts[0] != 0 or starts != sorted(set(starts))):
            raise ConfigError(f"data.stages must start at step 0 and rise, got from_step {starts}")
        if self.workers < 0 or self.first_seed < 0:
            raise ConfigError(f"data.workers and data.first_seed must be >= 0, got {self.workers}, {self.first_seed}")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. How the learning rate moves is told in `gen2seg.training.schedule`.

    `accumulate` micro-batches make a step, counted over all processes, which share them.
    """

    lr: float = 1.5e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.02
    decay_vectors: bool = False  # whether biases and norms are decayed too, as plain AdamW does
    schedule: str = "linear"  # "linear", "exponential" or "cosine"
    warmup_steps: int = 200
    decay_steps: int = 0  # linear: over how many last steps; else the step at which the final rate is reached
    final_lr_ratio: float = 0.02
    gradient_clip: float = 1.0
    accumulate: int = 1
    ema_decay: float = 0.998  # of the averaged weights; 0 keeps none

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
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"optimizer.schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if self.schedule != "linear" and not (self.decay_steps > self.warmup_steps and self.final_lr_ratio > 0):
            raise ConfigError(
                f"optimizer.schedule {self.schedule!r} needs decay_steps > warmup_steps and final_lr_ratio > 0, "
                f"got {self.decay_steps}, {self.warmup_steps} and {self.final_lr_ratio}"
            )


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights of the three objectives; those at 0 are not computed."""

    contrastive: float = 1.0  # pixel pairs and instance means: teaches a fresh network to paint
    coloring: float = 0.0  # the paper's instance colouring loss
    reconstruction: float = 0.0  # generative pretraining: repaint the picture from a damaged copy
    coloring_options: dict[str, float] = field(default_factory=dict)  # inter_weight, huber_delta, ...
    squared: bool = False  # pull to the mean by the squared distance instead of Huber's
    normalize: bool = True  # stretch each picture's raw output over 0..255 before the loss, where the backbone asks

    def __post_init__(self) -> None:
        weights = (self.contrastive, self.coloring, self.reconstruction)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(f"objective weights must be >= 0 and not all 0, got {weights}")
        if self.reconstruction and (self.contrastive or self.coloring):
            raise ConfigError(
                "objective.reconstruction pretrains on damaged pictures and goes alone: set the others to 0"
            )
        if self.squared and "huber_delta" in self.coloring_options:
            raise ConfigError("objective.squared has no huber_delta: drop one of them")
        try:
            LossConfig(**self.coloring_options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"objective.coloring_options: {error}") from error


@dataclass(frozen=True)
class ModelConfig:
    """What of a pretrained backbone is used and trained; `gen2seg.training.network` says what each backbone takes.

    `trained` is one of "all", "decoder", "head" (the last layer alone: a linear probe) or "last", the last
    `last_blocks` blocks and the head, as in the paper's depth ablation (arXiv 2505.15263).
    """

    trained: str = "all"
    last_blocks: int = 0
    gradient_checkpointing: bool = False
    allow_pickle: bool = False  # read pickled weights where there is no safetensors
    vae: str | None = None  # dino-b: whose decoder follows a ViT of timm that `init` names; a folder or hub id
    timestep: int | None = None  # sd2: 999, 499, 1, ...; None: what the scheduler gives for one step
    x0_sample: str = "zero"  # sd2: what stands for the sample in the x0 formula, "zero" or "image"
    text_tokens: int = 77  # sd2: the empty prompt padded to 77 tokens, or its own 2

    def __post_init__(self) -> None:
        if self.trained not in TRAINED_PARTS:
            raise ConfigError(f"model.trained must be one of {', '.join(TRAINED_PARTS)}, got {self.trained!r}")
        if (self.last_blocks > 0) != (self.trained == "last") or self.last_blocks < 0:
            raise ConfigError(
                f'model.last_blocks goes with trained = "last", got {self.last_blocks} and {self.trained!r}'
            )
        if self.x0_sample not in ("zero", "image"):
            raise ConfigError(f"model.x0_sample must be zero or image, got {self.x0_sample!r}")
        if not 2 <= self.text_tokens <= 77:
            raise ConfigError(f"model.text_tokens must lie in 2..77, got {self.text_tokens}")
        if self.timestep is not None and self.timestep < 0:
            raise ConfigError(f"model.timestep must be >= 0, got {self.timestep}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run. `steps` counts optimizer steps, `output` is the run's folder."""

    steps: int
    output: str
    backbone: str = "tiny"
    architecture: dict[str, Any] = field(default_factory=dict)  # arguments of the backbone's config
    init: str | None = None  # checkpoint folder or hub id whose weights the run starts from
    model: ModelConfig = field(default_factory=ModelConfig)
    seed: int = 0
    mixed_precision: str = "bf16"  # "bf16", "fp16" or "no"
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    log_every: int = 50
    tensorboard: bool = False
    sample_every: int = 0  # steps between two sheets of what the network paints; 0 makes none
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.checkpoint_every < 1 or self.keep_checkpoints < 1 or self.log_every < 1:
            raise ConfigError("steps, checkpoint_every, keep_checkpoints and log_every must be at least 1")
        if self.sample_every < 0:
            raise ConfigError(f"sample_every must be >= 0, got {self.sample_every}")
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

    A file may say `extends = NAME_OR_PATH` (a path counts from the file's folder): it then changes single keys of
    that one, except that its `data.sources`, where it has any, replace all of the other's.

    Raises:
        ConfigError: unknown name, unreadable file, unknown key (with a suggestion), wrong type or value.
    """
    source, values = _read_values(name_or_path, ())
    return read_record(TrainConfig, source, values, overrides)


def _read_values(name_or_path: str, above: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    source, text = _read(name_or_path)
    if source in above:
        raise ConfigError(f"{source}: extends itself")
    values = parse_toml(source, text)
    base = values.pop("extends", None)
    if base is None:
        return source, values
    if not isinstance(base, str):
        raise ConfigError(f"{source}: extends must be a name or a path, got {base!r}")
    beside = Path(source).parent / base
    _, usual = _read_values(str(beside) if beside.is_file() else base, (*above, source))
    return source, _merged(usual, values)


def _merged(usual: dict[str, Any], changes: dict[str, Any], where: str = "") -> dict[str, Any]:
    result = dict(usual)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(usual.get(key), dict) and where + key != "data.sources"
        result[key] = _merged(usual[key], value, f"{where}{key}.") if both else value
    return result


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
