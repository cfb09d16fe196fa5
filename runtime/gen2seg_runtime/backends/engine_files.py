"""Which engines a stage has in its bundle, for which cards, and which of them a card takes; reads the manifest only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gen2seg_runtime.manifest import StageSpec


@dataclass(frozen=True)
class EngineFile:
    """One engine of a stage.

    Attributes:
        path: in the bundle.
        sms: compute capabilities times ten that it was built for; empty: for the builder's own card, unnamed.
        version: of the library that built it; None where the manifest does not say.
        card: name of the one card that it was built on; None where it was built for kinds of card.
    """

    path: str
    sms: tuple[int, ...] = ()
    version: str | None = None
    card: str | None = None


def engine_files(library: str, stage: StageSpec) -> tuple[EngineFile, ...]:
    """The engines that a stage has for a library ("tensorrt" or "tensorrt_rtx"), in the order of its artifacts."""
    paths = [path for path in stage.artifacts.get(library, ()) if path.endswith(".engine")]
    facts = _table(stage.facts.get(library))
    records = facts.get("engines")
    if not isinstance(records, list | tuple):
        # Earlier bundles have one engine a stage, and its facts at this place.
        return tuple(_engine_file(path, facts) for path in paths)
    by_name = {table["file"]: table for record in records if isinstance((table := _table(record)).get("file"), str)}
    return tuple(_engine_file(path, by_name.get(path.rpartition("/")[2], {})) for path in paths)


def fitting_engine(engines: Sequence[EngineFile], capability: int) -> EngineFile | None:
    """The engine for a card of this compute capability times ten: one that names it, else one that names none."""
    named = (engine for engine in engines if capability in engine.sms)
    unnamed = (engine for engine in engines if not engine.sms)
    return next(named, None) or next(unnamed, None)


def _engine_file(path: str, facts: Mapping[str, Any]) -> EngineFile:
    made = _table(facts.get("made_from"))
    sms, version, card = made.get("sms"), made.get("version"), made.get("card")
    return EngineFile(
        path,
        tuple(sm for sm in sms if isinstance(sm, int)) if isinstance(sms, list | tuple) else (),
        version if isinstance(version, str) else None,
        card if isinstance(card, str) else None,
    )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
