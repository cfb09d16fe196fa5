"""Which backend runs which stage, and why: what "auto" means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gen2seg_runtime.backends.checks import Obstacle, first_obstacle, weights_outside
from gen2seg_runtime.backends.registry import BACKENDS, DEFAULT_BACKEND, check_mapping, check_options
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.machine import MACHINE, Probes
from gen2seg_runtime.manifest import Manifest, StageSpec


@dataclass(frozen=True)
class Choice:
    """The backend of a stage and why it was taken, in words."""

    stage: str
    backend: str
    why: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.backend} ({self.why})"


def choose_backends(
    manifest: Manifest, name: str = "auto", options: Mapping[str, Any] | None = None, probes: Probes = MACHINE
) -> tuple[Choice, ...]:
    """A backend for each stage of the chain.

    A name is taken for all stages, whether or not it can run here (opening says so). "auto" takes for each stage the
    first that can run it here: an engine that the bundle holds, the backend that the manifest prefers, ONNX Runtime
    on the CPU.

    Raises:
        BackendError: unknown name or option, options with "auto", or nothing here can run a stage.
    """
    if not isinstance(name, str) or name != "auto":
        check_options(name, {} if options is None else options)
        return tuple(Choice(stage.name, name, "asked for") for stage in manifest.chain)
    check_mapping(options)
    if options:
        raise BackendError(f"options ({', '.join(options)}) belong to a named backend, the backend here is 'auto'")
    return tuple(_best(stage, weights_outside(manifest, stage), probes) for stage in manifest.chain)


def _best(stage: StageSpec, outside: bool, probes: Probes) -> Choice:
    refused: dict[str, Obstacle] = {}
    for name, why in _candidates(stage).items():
        obstacle = first_obstacle(name, BACKENDS[name], stage, probes, outside=outside)
        if obstacle is None:
            passed_over = "".join(f"; not {other}: {reason}" for other, reason in refused.items())
            return Choice(stage.name, name, why + passed_over)
        refused[name] = obstacle
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    raise BackendError(f"nothing here can run stage {stage.name!r}: {reasons}")


def _candidates(stage: StageSpec) -> dict[str, str]:
    """Backend -> why it would be taken, best first."""
    engines = {
        name: "the bundle holds an engine for this GPU"
        for name, spec in BACKENDS.items()
        if spec.gpu and name in stage.artifacts
    }
    preferred = {stage.backend: "the bundle prefers it"} if stage.backend in BACKENDS else {}
    return engines | preferred | {DEFAULT_BACKEND: preferred.get(DEFAULT_BACKEND, "it runs every graph")}
