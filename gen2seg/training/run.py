"""The one training loop: config in, checkpoint out."""

import copy
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gen2seg.config import TrainConfig
from gen2seg.data.batches import open_batches
from gen2seg.data.cleaning import Cleaned
from gen2seg.data.mixture import Batch
from gen2seg.toml_records import ConfigError

from .families import open_network
from .log import ReadingBar, RunLog
from .network import Network
from .objectives import damaged, objective_loss
from .samples import save_samples
from .schedule import lr_factor
from .state import TrainState, list_checkpoints, seed_everything

# The first process of a machine reads all labels of a data set once while the others wait for it.
LONGEST_WAIT = timedelta(hours=6)


def train(config: TrainConfig, resume: bool = False) -> Path:
    """Train to the end of `config.steps` and return the folder of the final weights.

    The run's folder `config.output` gets `checkpoints/step-N` (to resume from), `log.csv` and, at the end,
    `weights/` (in the hub layout, which export reads; the averaged weights where an average is kept). Files that
    could not be read are listed in `skipped.txt`. Ctrl-C and SIGTERM end the run after the step in hand, with a
    checkpoint; a kill loses what came after the last one.

    Raises:
        ConfigError: the folder holds a run and `resume` is False; this machine or the number of processes does not
            suit the config.
        CheckpointError: `init` or the checkpoint to resume from cannot be used.
        DataSetError: see `open_sources`.
    """
    run = Path(config.output)
    found = list_checkpoints(run)
    if found and not resume:
        raise ConfigError(f"{run} holds a run already; go on with --resume or set another output")
    accelerator = _accelerator(config)
    state, model, network = _begin(config, accelerator)
    if found:
        state.restore(found[-1])
    _refuse_different_steps(accelerator, state.step, run)
    run.mkdir(parents=True, exist_ok=True)

    main = accelerator.is_main_process
    with (
        RunLog(run, state.step, config.steps, config.log_every, config.tensorboard, quiet=not main) as log,
        _stop_on_signals() as stop,
    ):
        log.say(f"{run}: step {state.step} of {config.steps}, {accelerator.device}, {config.mixed_precision}")
        for step, micro_batches in _steps(config, state.step, accelerator, log.source):
            for batch in micro_batches:
                log.skip(batch.broken)
            values = _update(config, accelerator, state, model, network, step, micro_batches)
            state.step = step + 1
            pictures = accelerator.num_processes * sum(len(batch.images) for batch in micro_batches)
            log.step(state.step, pictures, values)
            if main and config.sample_every and state.step % config.sample_every == 0:
                save_samples(run, state, network, micro_batches[0], config.objective.normalize)
            due = state.step % config.checkpoint_every == 0 or state.step == config.steps
            stopped = _stopped_anywhere(accelerator, stop)
            if main and (due or stopped):
                state.save(run, config.keep_checkpoints)
            if stopped:
                _sum_up(accelerator, log)
                accelerator.wait_for_everyone()  # a launcher kills the others as soon as one has left
                log.say(f"{run}: stopped after step {state.step}; go on with --resume")
                raise KeyboardInterrupt
        _sum_up(accelerator, log)
    weights = run / "weights"
    if main:
        network.save(state.result, weights, checkpoint_config(config, state.step))
    accelerator.wait_for_everyone()
    return weights


def checkpoint_config(config: TrainConfig, step: int) -> dict[str, Any]:
    """What a checkpoint says of itself: which network, and what it was trained with."""
    return {
        "backbone": config.backbone,
        "architecture": config.architecture,
        "training": {"step": step, "config": config.to_dict()},
    }


def _accelerator(config: TrainConfig) -> Accelerator:
    waiting = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    try:
        accelerator = Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[waiting])
    except (ValueError, RuntimeError) as error:  # a device without it, or another precision in the same process
        raise ConfigError(f"mixed_precision {config.mixed_precision!r} cannot be had here: {error}") from error
    if config.mixed_precision == "fp16" and accelerator.scaler is None:  # it would be float32 without a word
        raise ConfigError(f"mixed_precision 'fp16' cannot be had on {accelerator.device}: take bf16 or no")
    return accelerator


def _refuse_different_steps(accelerator: Accelerator, step: int, run: Path) -> None:
    """Raises ConfigError where processes found different checkpoints: machines that do not share the folder."""
    steps = gather_object([step])
    if len(set(steps)) > 1:
        raise ConfigError(
            f"{run}: the processes would go on from different steps {sorted(set(steps))}; put output on a disk that "
            "all machines share"
        )


def _sum_up(accelerator: Accelerator, log: RunLog) -> None:
    log.skip(gather_object(log.skipped))
    log.say_skipped()


def _begin(config: TrainConfig, accelerator: Accelerator) -> tuple[TrainState, nn.Module, Network]:
    seed_everything(config.seed)
    network = open_network(config)
    module = network.module.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    settings = config.optimizer
    ema = copy.deepcopy(module).eval().requires_grad_(False) if settings.ema_decay else None
    trained = [p for p in module.parameters() if p.requires_grad]
    # Norms, biases and other vectors are not decayed unless asked for: it pulls them to a value with no meaning.
    plain = [] if settings.decay_vectors else [p for p in trained if p.ndim <= 1]
    decayed = trained if settings.decay_vectors else [p for p in trained if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.lr, betas=settings.betas, fused=True
    )
    model, prepared = accelerator.prepare(module, optimizer)
    generator = torch.Generator().manual_seed(config.seed)
    return TrainState(module, ema, prepared, generator, accelerator.scaler), model, network


def _steps(
    config: TrainConfig, first: int, accelerator: Accelerator, tell: Callable[[str, Cleaned], None] | None = None
) -> Iterator[tuple[int, list[Batch]]]:
    """(step, this process's micro-batches) from `first` on; reading runs ahead in worker processes."""
    accumulate, world = config.optimizer.accumulate, accelerator.num_processes
    # The first process of each machine reads the labels, the others find them in its cache.
    with accelerator.local_main_process_first(), ReadingBar(quiet=not accelerator.is_main_process) as bar:
        batches = open_batches(
            config.data, config.steps, accumulate, config.seed, accelerator.process_index, world, bar.update, tell
        )
    share = accumulate // world
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first * share, config.steps * share),
        num_workers=config.data.workers,
        prefetch_factor=4 if config.data.workers else None,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # or it would draw from the global one, once more after each resume
    )
    source = iter(loader)
    for step in range(first, config.steps):
        yield step, [next(source) for _ in range(share)]


def _update(
    config: TrainConfig,
    accelerator: Accelerator,
    state: TrainState,
    model: nn.Module,
    network: Network,
    step: int,
    micro_batches: list[Batch],
) -> dict[str, Tensor | float]:
    """One optimizer step over its micro-batches; returns the averaged loss terms."""
    settings = config.optimizer
    lr = settings.lr * lr_factor(step, config.steps, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    model.train()
    sums: dict[str, Tensor | float] = {"loss": 0.0}
    started = time.monotonic()
    for number, batch in enumerate(micro_batches):
        last = number == len(micro_batches) - 1
        batch = batch.to(accelerator.device)
        images = network.prepare(batch.images).contiguous(memory_format=torch.channels_last)
        shown = damaged(images, state.generator) if config.objective.reconstruction else images
        with _synced(accelerator, model, last):
            if network.loss is not None:
                with accelerator.autocast():
                    loss, terms = network.loss(model, images, batch, state.generator)
            else:
                with accelerator.autocast():
                    raw = model(shown)
                colors = network.colors(raw, config.objective.normalize)
                loss, terms = objective_loss(colors, batch, images, config.objective, state.generator)
            accelerator.backward(loss / len(micro_batches))
        for name, value in {"loss": loss.detach(), **terms}.items():
            sums[name] = sums.get(name, 0.0) + value / len(micro_batches)
    sums = {name: _mean_over_processes(accelerator, value) for name, value in sums.items()}
    norm = accelerator.clip_grad_norm_(model.parameters(), settings.gradient_clip)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    _average(state, min(settings.ema_decay, (1 + step) / (10 + step)))
    extra = {"gradient_norm": norm if norm is not None else 0.0, "lr": lr}
    return {**sums, **extra, "seconds": time.monotonic() - started}


def _mean_over_processes(accelerator: Accelerator, value: Tensor | float) -> Tensor | float:
    if accelerator.num_processes == 1:
        return value
    there = torch.as_tensor(value, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(there, "mean")  # type: ignore[return-value]


@contextmanager
def _synced(accelerator: Accelerator, model: nn.Module, sync: bool) -> Iterator[None]:
    """Exchange gradients between processes on the last micro-batch only."""
    if sync:
        yield
    else:
        with accelerator.no_sync(model):
            yield


@torch.no_grad()
def _average(state: TrainState, decay: float) -> None:
    if state.ema is None:
        return
    for averaged, current in zip(state.ema.parameters(), state.module.parameters(), strict=True):
        averaged.lerp_(current, 1 - decay)
    for kept, current in zip(state.ema.buffers(), state.module.buffers(), strict=True):
        kept.copy_(current)


def _stopped_anywhere(accelerator: Accelerator, caught: list[int]) -> bool:
    """Whether a signal has reached any process: all must end after the same step, or some would wait forever."""
    if accelerator.num_processes == 1:
        return bool(caught)
    flag = torch.tensor(float(len(caught)), device=accelerator.device)
    return float(accelerator.reduce(flag, "sum")) > 0  # type: ignore[arg-type]


def _ignore_interrupts(worker: int) -> None:
    """Terminals and schedulers signal every process: the main one finishes its step and needs its readers for that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _stop_on_signals() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM comes; a second signal stops at once."""
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
