"""The compiled kernels; all else is in pyproject.toml.

The extension keeps to CPython 3.11's stable ABI, so one wheel per platform serves every later version. It is
optional: where no compiler is at hand the package installs without it and the kernels say so when they run.
"""

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("kernels/gen2seg_kernels/csrc")

# No fused multiply-add unless the source asks for it: masks equal the definition's to the last bit.
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"]

extension = Extension(
    "gen2seg_kernels._native",
    sources=sorted(str(path) for path in SOURCES.glob("*.c")),
    depends=sorted(str(path) for path in SOURCES.glob("*.h")),
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    extra_compile_args=[] if sys.platform == "win32" else FLAGS,
    libraries=[] if sys.platform == "win32" else ["m", "pthread"],
    py_limited_api=True,
    optional=True,
)

abi3 = platform.python_implementation() == "CPython"
setup(ext_modules=[extension], options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {})
