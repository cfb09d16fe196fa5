"""What the registry knows of a library that can run a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.machine import MACHINE
from gen2seg_runtime.manifest import StageSpec

# (bundle, stage, threads) -> session
StageOpener = Callable[[Bundle, StageSpec, int], StageSession]
# (bundle, stage, threads, options) -> session
OptionsOpener = Callable[[Bundle, StageSpec, int, dict[str, Any]], StageSession]


@dataclass(frozen=True)
class BackendSpec:
    """One library.

    Attributes:
        module, opener: where the `StageOpener` is; imported when it is asked for.
        package: the Python package that must be installed.
        install: how it is installed.
        from_onnx: it runs a stage's ONNX graph; else it needs an artifact of the stage under its name.
        external: it takes the weights of an ONNX graph also from another file.
        lacks: formats of `PrecisionSpec.compute` that its arithmetic has not.
        options: names of what may be asked of it.
        options_opener: "module:name" of the `OptionsOpener`, used where something is asked.
        gpu: it runs on an NVIDIA GPU only.
        distributions: packages that bring the library; one that ends in "-cu13" needs a driver for CUDA 13.
        also: further modules that it needs.
    """

    module: str
    opener: str
    package: str
    install: str
    from_onnx: bool
    external: bool = False
    lacks: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    options_opener: str = ""
    gpu: bool = False
    distributions: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def installed(self) -> bool:
        """Whether the library is there; it is not imported."""
        return MACHINE.installed(self.package)
