"""What can go wrong while a checkpoint becomes a bundle; each error names what came and what was expected."""

from typing import TYPE_CHECKING

from gen2seg_runtime.errors import Gen2SegError

if TYPE_CHECKING:
    from gen2seg_export.control import ControlReport
    from gen2seg_export.parity import ParityReport
    from gen2seg_export.pipeline import ExportReport


class ExportError(Gen2SegError, ValueError):
    """The request or the network cannot be turned into a bundle.

    Attributes:
        exit_code: of the command line.
    """

    exit_code = 2


class UnsupportedBackboneError(ExportError):
    """There is no exporter for the backbone."""


class NotAvailableError(ExportError):
    """A part of the exporter is not in this build."""


class WorkFolderError(ExportError, OSError):
    """The work folder beside the output is in use or cannot be written."""


class ParityError(ExportError):
    """The bundle differs from the PyTorch network too much, or the gate saw no planted fault."""

    exit_code = 1

    def __init__(self, message: str, parity: "ParityReport", control: "ControlReport") -> None:
        super().__init__(message)
        self.parity = parity
        self.control = control


class EngineMissingError(ExportError, OSError):
    """The bundle is written and verified, but without engines that were asked for: they cannot be built here.

    Attributes:
        report: of the bundle that was written, with the command for the device in a script beside each engine's place.
    """

    exit_code = 1

    def __init__(self, message: str, report: "ExportReport") -> None:
        super().__init__(message)
        self.report = report
