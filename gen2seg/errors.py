"""Errors that several parts of this package raise."""

from gen2seg_runtime.errors import Gen2SegError


class MissingExtraError(Gen2SegError, OSError):
    """A library that an extra of this package installs is not there; the message names the extra."""


class CheckpointError(Gen2SegError, ValueError):
    """A checkpoint that cannot be used; the message names the file."""


class MissingFileError(CheckpointError, FileNotFoundError):
    """A file or folder of a checkpoint is not there, or may not be read (a pickle)."""


class HubError(CheckpointError, OSError):
    """The hub cannot be reached, or has no such repository; the message says which files to fetch by hand."""


class LayoutError(CheckpointError):
    """A file of a checkpoint is damaged, or says that it is of another model."""


class MissingTensorError(CheckpointError):
    """A checkpoint lacks a tensor that the network needs."""


class UnexpectedTensorError(CheckpointError):
    """A checkpoint holds a tensor that the network has no place for."""


class TensorShapeError(CheckpointError):
    """A tensor of a checkpoint has another shape than the network needs."""
