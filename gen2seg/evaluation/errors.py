"""Errors of the evaluation; each is also the built-in error that a caller would expect."""

from gen2seg_runtime.errors import Gen2SegError


class EvaluationError(Gen2SegError, ValueError):
    """A wrong argument of the evaluation: an unknown system or set, an impossible count."""


class DataSetError(Gen2SegError, OSError):
    """The data folder, or a file in it, is missing, unreadable or not in the expected layout."""
