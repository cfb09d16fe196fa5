"""From a strongly typed graph to an engine file with key, digest, checks and log: TensorRT and TensorRT-RTX."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen2seg_export.parts import digest_json, file_facts
from gen2seg_export.targets.artifact import Artifact, build_folder, graph_digest
from gen2seg_export.targets.child import run_in_child
from gen2seg_export.targets.engine_check import check_engine
from gen2seg_export.targets.errors import TargetError

BUILDER = "gen2seg_export.targets.engine_build:build_engine"


def make_engine(
    library: str,
    graph: Path,
    out_dir: Path,
    *,
    stage: str,
    shapes: Sequence[Sequence[int]],
    precision: str,
    sms: Sequence[int],
    level: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Artifact:
    """Build, check and file one engine: `<stem>.engine`, `<stem>.json` (key and checks), `<stem>.log`.

    Args:
        library: "tensorrt" or "tensorrt_rtx".
        sms: compute capabilities times ten; empty: the card of this machine.
        level: builder optimization level, 0 to 5; None: the library's own.
        shapes: sizes (N, C, H, W) that the engine takes.
    Raises:
        TargetUnavailableError, TargetError, EngineCheckError: see `engine_build` and `engine_check`.
    """
    if precision == "int8":
        raise TargetError(f"{library}: int8 is offered for the target openvino only; GPUs take fp16 or bf16")
    if not shapes:
        raise TargetError(f"{library}: an engine needs at least one input shape; give height and width")
    place = "-".join(f"sm{sm}" for sm in sms) if sms else "local"
    stem = f"{stage}.{library.replace('_', '-')}.{place}"
    asked = {"library": library, "shapes": [list(s) for s in shapes], "sms": list(sms), "level": level}
    with build_folder(out_dir) as folder:
        made = {name: folder / f"{stem}.{name}" for name in ("engine", "json", "log")}
        job = {**asked, "graph": str(graph), "engine": str(made["engine"]), "log": str(made["log"])}
        result = run_in_child(BUILDER, job, progress)
        checks = check_engine(graph, made["engine"], made["log"].read_text(encoding="utf-8"), result)
        parts = {**asked, "graph": graph_digest(graph), "version": result["version"], "flags": result["flags"]}
        facts: dict[str, Any] = {
            "target": library,
            "stage": stage,
            "precision": precision,
            "key": digest_json(parts),
            "made_from": parts,
            "sha256": file_facts(made["engine"])["sha256"],
            "checks": checks,
            "seconds": result["seconds"],
            "peak_memory_bytes": result["peak_memory_bytes"],
        }
        made["json"].write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        paths = tuple(path.replace(out_dir / path.name) for path in made.values())
    notes = ("the realised layer types can be read on a card only: make gpu-check",)
    return Artifact(library, stage, paths, facts["key"], paths[2], notes, facts)
