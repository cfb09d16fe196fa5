"""From a strongly typed graph to engine files, each with key, digest, checks and log: TensorRT and TensorRT-RTX."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen2seg_export.parts import digest_json, file_facts
from gen2seg_export.targets.artifact import Artifact, build_folder, graph_digest
from gen2seg_export.targets.child import run_in_child
from gen2seg_export.targets.engine_check import check_engine
from gen2seg_export.targets.errors import TargetError, TargetUnavailableError
from gen2seg_runtime.cuda_probe import Gpu
from gen2seg_runtime.machine import MACHINE

BUILDER = "gen2seg_export.targets.engine_build:build_engine"


def make_engines(
    library: str,
    graph: Path,
    out_dir: Path,
    *,
    stage: str,
    shapes: Sequence[Sequence[int]],
    precision: str,
    groups: Sequence[Sequence[int]],
    level: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Artifact:
    """Build, check and file engines, each as `<stem>.engine`, `<stem>.json` (key and checks), `<stem>.log`.

    Args:
        library: "tensorrt" or "tensorrt_rtx".
        groups: for each engine its compute capabilities times ten; an empty group: the card of this machine.
        level: builder optimization level, 0 to 5; None: the library's own.
        shapes: sizes (N, C, H, W) that the engine takes.
    Raises:
        TargetUnavailableError: there is no card here to build for; or see `engine_build`.
        TargetError, EngineCheckError: see `engine_build` and `engine_check`; nothing is left then.
    """
    if precision == "int8":
        raise TargetError(f"{library}: int8 is offered for the target openvino only; GPUs take fp16 or bf16")
    if not shapes:
        raise TargetError(f"{library}: an engine needs at least one input shape; give height and width")
    with build_folder(out_dir) as folder:
        made = []
        for sms in groups:
            asked = {"library": library, "shapes": [list(s) for s in shapes], "sms": list(sms), "level": level}
            made.append(_make_engine(asked, graph, folder, stage, precision, progress))
        files = [tuple(path.replace(out_dir / path.name) for path in paths) for paths, _ in made]
    facts = {
        "target": library,
        "stage": stage,
        "precision": precision,
        "engines": [engine for _, engine in made],
    }
    key = digest_json([engine["key"] for _, engine in made])
    notes = ("the realised layer types can be read on a card only: make gpu-check",)
    return Artifact(library, stage, tuple(path for paths in files for path in paths), key, files[0][2], notes, facts)


def _make_engine(
    asked: dict[str, Any],
    graph: Path,
    folder: Path,
    stage: str,
    precision: str,
    progress: Callable[[str], None] | None,
) -> tuple[tuple[Path, Path, Path], dict[str, Any]]:
    """One engine in `folder`: (engine, record, log), and the record."""
    library = asked["library"]
    card = None if asked["sms"] else local_card(library)
    sms = asked["sms"] if card is None else [card.capability]
    stem = f"{stage}.{library.replace('_', '-')}.{'-'.join(f'sm{sm}' for sm in sms)}"
    paths = folder / f"{stem}.engine", folder / f"{stem}.json", folder / f"{stem}.log"
    engine, record, log = paths
    result = run_in_child(BUILDER, {**asked, "graph": str(graph), "engine": str(engine), "log": str(log)}, progress)
    checks = check_engine(graph, engine, log.read_text(encoding="utf-8"), result)
    parts = {**asked, "sms": list(sms), "graph": graph_digest(graph)}
    parts |= {"version": result["version"], "flags": result["flags"]}
    if card is not None:
        parts["card"] = card.name
    facts = {
        "target": library,
        "stage": stage,
        "precision": precision,
        "file": engine.name,
        "key": digest_json(parts),
        "made_from": parts,
        "sha256": file_facts(engine)["sha256"],
        "checks": checks,
        "seconds": result["seconds"],
        "peak_memory_bytes": result["peak_memory_bytes"],
    }
    record.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return paths, facts


def local_card(library: str) -> Gpu:
    """The card that a library builds for where no kinds of card are named: the first one.

    Raises:
        TargetUnavailableError: there is none.
    """
    cards = MACHINE.gpus()
    if not cards:
        raise TargetUnavailableError(
            f"the target {library} builds for the card of the machine, and here is no NVIDIA GPU or no driver"
        )
    return cards[0]
