"""Errors that several parts of this package raise."""

from gen2seg_runtime.errors import Gen2SegError


class MissingExtraError(Gen2SegError, OSError):
    """A library that an extra of this package installs is not there; the message names the extra."""
