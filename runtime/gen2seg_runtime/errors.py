"""The errors that this package raises.

Every one derives from `Gen2SegError` and from the built-in type a caller would expect (ValueError
for a value that is wrong, OSError for a file or a library that is), so that both
`except Gen2SegError` and `except ValueError` do what they say.
"""


class Gen2SegError(Exception):
    """Base of every error raised by gen2seg_runtime."""


class BundleError(Gen2SegError, ValueError):
    """A model bundle cannot be used."""


class BundleIntegrityError(BundleError):
    """A file of a bundle is not the file its manifest describes, or not where it may be."""


class BundleSchemaError(BundleError):
    """bundle.json is not a manifest this version understands."""


class BundleIOError(Gen2SegError, OSError):
    """A file of a bundle cannot be read."""


class ImageError(Gen2SegError, ValueError):
    """A picture was read but has a shape, type, size or value that cannot be used."""


class ImageReadError(Gen2SegError, OSError):
    """A picture file is missing, empty, truncated or of no known format."""


class PromptError(Gen2SegError, ValueError):
    """Points or labels that do not make a prompt."""


class BackendError(Gen2SegError, OSError):
    """An inference library is missing, unknown or cannot run the model."""


class NetworkOutputError(Gen2SegError, ValueError):
    """The network returned NaN, infinity or another shape than it promised."""


class EncodingFormatError(Gen2SegError, ValueError):
    """A file is not a saved Encoding that this version can read."""


class OutputError(Gen2SegError, OSError):
    """A result cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """The place for a result is taken, and nobody asked to overwrite it."""


class MissingLibraryError(Gen2SegError, OSError):
    """An optional library that was asked for is not installed; the message names it."""


class BundleWarning(UserWarning):
    """A bundle says something this version does not know; it is kept and ignored."""


class ImageWarning(UserWarning):
    """A picture could be read, but something in its file could not."""
