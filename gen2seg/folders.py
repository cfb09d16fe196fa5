"""Folders for results."""

from pathlib import Path

from gen2seg_runtime.errors import OutputError


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it unless they exist.

    Raises:
        OutputError: something else has that name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error}") from error
    return folder
