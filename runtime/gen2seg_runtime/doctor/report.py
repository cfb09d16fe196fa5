"""What an examination found, as records, as JSON and as text for people."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gen2seg_runtime.backends.checks import CANNOT, REBUILD, Obstacle
from gen2seg_runtime.codes import CODES, anchor

RUNS = "runs"
_WORDS = {RUNS: "will run", REBUILD: "must be rebuilt", CANNOT: "cannot"}


@dataclass(frozen=True)
class Note:
    """Something to know that keeps nothing from running; `code` is a key of `CODES`."""

    code: str
    message: str

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code


@dataclass(frozen=True)
class Verdict:
    """What becomes of the bundle in one backend.

    Attributes:
        backend: its name, "onnxruntime:cuda" for a provider.
        obstacles: what is in the way; empty: it will run.
        notes: what to know beside that.
        versions: of the packages that bring it.
    """

    backend: str
    obstacles: tuple[Obstacle, ...] = ()
    notes: tuple[Note, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """ "runs", "rebuild" (a new export is all that is missing) or "cannot"."""
        kinds = {obstacle.kind for obstacle in self.obstacles}
        return CANNOT if CANNOT in kinds else REBUILD if kinds else RUNS


@dataclass(frozen=True)
class Report:
    """An examination.

    Attributes:
        bundle: what the manifest says of name, weights, licence, stages and sizes; empty if it cannot be read.
        machine: processor, memory, GPUs, driver, libraries.
        problems: what keeps the bundle from being opened at all.
        notes: what to know of bundle and machine.
        verdicts: one a backend.
        auto: what backend "auto" would take for each stage, in words; empty where it finds none.
    """

    bundle: Mapping[str, Any]
    machine: Mapping[str, Any]
    problems: tuple[Obstacle, ...]
    notes: tuple[Note, ...]
    verdicts: tuple[Verdict, ...]
    auto: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Whether the bundle can be opened and some backend will run it."""
        return not self.problems and any(verdict.status == RUNS for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON objects; every code comes with the place that explains it."""
        return {
            "usable": self.usable,
            "bundle": dict(self.bundle),
            "machine": dict(self.machine),
            "problems": [_coded(problem) for problem in self.problems],
            "notes": [_coded(note) for note in self.notes],
            "auto": list(self.auto),
            "backends": [
                {
                    "backend": verdict.backend,
                    "status": verdict.status,
                    "reasons": [_coded(obstacle) for obstacle in verdict.obstacles],
                    "notes": [_coded(note) for note in verdict.notes],
                    "versions": dict(verdict.versions),
                }
                for verdict in self.verdicts
            ],
        }

    def to_text(self) -> str:
        """For people: machine, bundle, what will run and what will not."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "machine"
        yield from (f"  {key}: {_shown(value)}" for key, value in self.machine.items())
        if self.bundle:
            yield "bundle"
            yield from (f"  {key}: {_shown(value)}" for key, value in self.bundle.items())
        yield from (f"  {note.code} {note.message}" for note in self.notes)
        yield from (f"  {problem.code} {problem.message}" for problem in self.problems)
        if self.verdicts:
            yield "backends"
        for verdict in self.verdicts:
            versions = " ".join(f"{name} {version}" for name, version in verdict.versions.items())
            yield f"  {verdict.backend}: {_WORDS[verdict.status]}{f' [{versions}]' if versions else ''}"
            yield from (f"    {item.code} {item.message}" for item in (*verdict.obstacles, *verdict.notes))
        yield from (f"auto takes {line}" for line in self.auto)
        yield "this bundle will run here" if self.usable else "nothing here will run this bundle"
        if any(verdict.obstacles or verdict.notes for verdict in self.verdicts) or self.problems or self.notes:
            yield "each code is explained in docs/error-codes.md"


def _coded(item: Obstacle | Note) -> dict[str, str]:
    return {**asdict(item), "title": CODES[item.code], "docs": anchor(item.code)}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return "; ".join(_shown(item) for item in value) or "none"
    return "unknown" if value is None else str(value)
