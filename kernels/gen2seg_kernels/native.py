"""The compiled kernels, where they are installed; else the plain versions run, after one warning."""

import os
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

VARIABLE = "GEN2SEG_KERNELS"
CHOICES = ("", "cpu", "reference")


@cache
def load_native() -> ModuleType | None:
    """The extension module, or None if the plain versions are to run; the first call warns if they must.

    The environment variable GEN2SEG_KERNELS, read once, chooses: "cpu" insists on the extension, "reference" on the
    plain versions.

    Raises:
        ImportError: the variable asks for the extension, which cannot be loaded.
        ValueError: the variable is something else.
    """
    choice = os.environ.get(VARIABLE, "")
    if choice not in CHOICES:
        raise ValueError(f"the environment variable {VARIABLE} must be cpu or reference, got {choice!r}")
    if choice == "reference":
        return None
    try:
        return import_module("gen2seg_kernels._native")
    except ImportError as error:
        if choice == "cpu":
            raise
        warnings.warn(
            f"the compiled kernels cannot be used ({error}); the plain ones run, which are correct but slow. "
            "Install a wheel of this platform, or install from source with a C compiler",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
