"""TensorRT-RTX: engines for several kinds of card at once, built without one."""

from pathlib import Path
from typing import Any

from gen2seg_export.targets.artifact import Artifact
from gen2seg_export.targets.engine import make_engines
from gen2seg_export.targets.errors import TargetError

# Ampere (A100; RTX 30), Ada, Blackwell: one engine. Turing has no bfloat16 and gets one of its own, on request.
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
    """One engine for `DEFAULT_SMS`, with `turing` one more for compute capability 7.5; or one for `sms`.

    Raises:
        TargetError: an unknown compute capability, bfloat16 on Turing, or see `engine.make_engines`.
    """
    groups = [sms] if sms is not None else [DEFAULT_SMS, TURING] if turing else [DEFAULT_SMS]
    if not all(group and set(group) <= set(KNOWN_SMS) for group in groups):
        raise TargetError(f"tensorrt_rtx builds for compute capabilities {KNOWN_SMS} (times ten), got {groups}")
    if precision == "bf16" and any(set(TURING) & set(group) for group in groups):
        raise TargetError("tensorrt_rtx: compute capability 7.5 has no bfloat16; export with fp16 for it")
    groups = [sorted(group) for group in groups]
    return make_engines("tensorrt_rtx", graph, out_dir, precision=precision, groups=groups, **options)
