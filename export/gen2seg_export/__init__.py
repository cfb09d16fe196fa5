"""Turn a checkpoint into a verified bundle that gen2seg_runtime runs.

    from gen2seg_export import export_bundle
    report = export_bundle("build/tiny", checkpoint="runs/tiny/weights", precision="fp16")

Importing this package imports nothing heavy; torch and onnx are loaded when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen2seg_export.errors import (
        EngineMissingError,
        ExportError,
        NotAvailableError,
        ParityError,
        UnsupportedBackboneError,
    )
    from gen2seg_export.parity import ParityReport, verify_bundle
    from gen2seg_export.pipeline import ExportReport, export_bundle

_HOME = {
    "UnsupportedBackboneError": "errors",
    "EngineMissingError": "errors",
    "ExportError": "errors",
    "ExportReport": "pipeline",
    "NotAvailableError": "errors",
    "ParityError": "errors",
    "ParityReport": "parity",
    "export_bundle": "pipeline",
    "verify_bundle": "parity",
}

__all__ = [
    "EngineMissingError",
    "ExportError",
    "ExportReport",
    "NotAvailableError",
    "ParityError",
    "ParityReport",
    "UnsupportedBackboneError",
    "export_bundle",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
