"""What can be asked for by name: backbones, precisions and targets. Looking one up imports nothing heavy."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gen2seg_export.errors import ExportError, NotAvailableError, UnsupportedBackboneError

if TYPE_CHECKING:
    from gen2seg_export.model import ExportModel

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
TARGETS = ("onnx", "openvino", "tensorrt", "tensorrt-rtx")
GPU_TARGETS = frozenset({"tensorrt", "tensorrt-rtx"})
# The quantized network is OpenVINO IR, and nothing else computes in bfloat16 on a CPU, where bundles are verified.
_NEEDS_OPENVINO = frozenset({"int8", "bf16"})


@dataclass(frozen=True)
class Family:
    """Where a backbone is opened.

    Attributes:
        module, opener: a function that returns an `ExportModel`; imported when it is asked for. It is given
            those of `open_model`'s options that it has parameters for.
        bundle_name: the name of its bundles unless told otherwise.
    """

    module: str
    opener: str
    bundle_name: str


FAMILIES = {
    "tiny": Family("gen2seg_export.families.tiny", "open_tiny", "gen2seg-tiny"),
    "sd2": Family("gen2seg_export.families.sd2", "open_sd2", "gen2seg-sd2"),
    "mae-b": Family("gen2seg_export.families.mae", "open_mae", "gen2seg-mae-b"),
    "mae-h": Family("gen2seg_export.families.mae", "open_mae", "gen2seg-mae-h"),
    "dino-b": Family("gen2seg_export.families.dino", "open_dino", "gen2seg-dino-b"),
}


def get_family(name: str) -> Family:
    """Look up a backbone.

    Raises:
        UnsupportedBackboneError: there is no exporter of that name.
    """
    if name not in FAMILIES:
        raise UnsupportedBackboneError(f"backbone {name!r} has no exporter; known: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]


def open_model(backbone: str, **options: Any) -> "ExportModel":
    """Open a backbone's network: read or built at random, specialised, with its reference.

    Args:
        backbone: a key of `FAMILIES`.
        options: `checkpoint`, `base`, `random_weights`, `architecture`, `allow_pickle`, `vae`, `text_embedding`,
            `sizes`, `settings`; what is None is left to the opener.
    Raises:
        ExportError: an option that this backbone does not take, set to something.
        CheckpointError: see the opener.
    """
    family = get_family(backbone)
    opener: Callable[..., ExportModel] = getattr(load_part(family.module), family.opener)
    takes = inspect.signature(opener).parameters
    options = {name: value for name, value in options.items() if value is not None}
    unknown = [name for name, value in options.items() if value and name not in takes and name not in _OPTIONAL]
    if unknown:
        raise ExportError(f"backbone {backbone!r} takes no {', '.join(unknown)}")
    given: dict[str, Any] = {"backbone": backbone, **options}
    return opener(**{name: value for name, value in given.items() if name in takes})


# Of use to some openers; of no consequence to the others.
_OPTIONAL = frozenset({"sizes", "allow_pickle"})


def load_part(module: str) -> Any:
    """Import a part of the exporter.

    Raises:
        NotAvailableError: this build comes without it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise NotAvailableError(f"{module} is not available in this build") from error
        raise


def check_choices(precision: str, targets: Sequence[str]) -> tuple[str, ...]:
    """The targets, each once, "onnx" first and always there.

    Raises:
        ExportError: an unknown precision or target, or two that exclude each other.
    """
    if precision not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        raise ExportError(f"unknown target {unknown[0]!r}; known: {', '.join(TARGETS)}")
    chosen = dict.fromkeys(("onnx", *targets))
    if precision in _NEEDS_OPENVINO:
        if precision == "int8" and GPU_TARGETS & set(chosen):
            raise ExportError("int8 is offered for the target openvino only; GPUs take fp16 or bf16")
        chosen["openvino"] = None
    return tuple(chosen)
