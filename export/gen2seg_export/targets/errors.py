"""What can go wrong while a graph becomes an engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen2seg_export.errors import ExportError


class TargetError(ExportError):
    """The target refuses the graph, the shapes or the precision, or its builder failed."""


class TargetUnavailableError(TargetError, OSError):
    """The library of a target cannot be loaded here.

    Attributes:
        command: what to run on a machine that has it; empty where there is no such command.
        paths: files that say so, written for the bundle.
    """

    def __init__(self, message: str, command: str = "", paths: tuple[Path, ...] = ()) -> None:
        super().__init__(message)
        self.command = command
        self.paths = paths


class EngineCheckError(TargetError):
    """An engine was built and is not what the graph says: wider than its formats, for one."""


class Int8RefusedError(TargetError):
    """The quantized network is not offered: slower here than the float one, or too far from it.

    Attributes:
        figures: what was measured.
    """

    exit_code = 1

    def __init__(self, message: str, figures: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = dict(figures or {})
