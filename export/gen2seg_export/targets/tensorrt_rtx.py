"""TensorRT-RTX: engines for several kinds of card at once, built without one."""

from pathlib import Path
from typing import Any

from gen2seg_export.targets.artifact import Artifact
from gen2seg_export.targets.engine import make_engine
from gen2seg_export.targets.errors import TargetError

# Ampere (A100; RTX 30), Ada, Blackwell: one engine. Turing has no bfloat16 and gets its own, on request.
DEFAULT_SMS = (80, 86, 89, 120)
TURING = (75,)
KNOWN_SMS = (75, 80, 86, 89, 120, 121)


def build(
    graph: Path,
    out_dir: Path,
    *,
    precision: str,
    turing: bool = False,
    sms: tuple[int, ...] | None = None,
    **options: Any,
) -> Artifact:
    """One engine for `DEFAULT_SMS`, or for compute capability 7.5 (`turing`), or for `sms`.

    Raises:
        TargetError: an unknown compute capability, bfloat16 on Turing, or see `engine.make_engine`.
    """
    chosen = sms if sms is not None else TURING if turing else DEFAULT_SMS
    unknown = [sm for sm in chosen if sm not in KNOWN_SMS]
    if unknown or not chosen:
        raise TargetError(f"tensorrt_rtx builds for compute capabilities {KNOWN_SMS} (times ten), got {chosen}")
    if precision == "bf16" and 75 in chosen:
        raise TargetError("tensorrt_rtx: compute capability 7.5 has no bfloat16; export with fp16 for it")
    return make_engine("tensorrt_rtx", graph, out_dir, precision=precision, sms=sorted(chosen), **options)
