"""A TensorRT or TensorRT-RTX engine of a bundle, read back from its verified bytes; both libraries share one interface.

Not run on hardware so far: reading an engine back needs a driver.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gen2seg_runtime.backends.engine_files import engine_files, fitting_engine
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import StageSpec

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Engine:
    """A deserialised engine with one float32 input and one float32 output.

    Attributes:
        package: "tensorrt" or "tensorrt_rtx".
        trt: the package as imported.
        handle: its ICudaEngine.
        runtime: kept as long as the engine.
        stage: the stage that it runs.
    """

    package: str
    trt: Any
    handle: Any
    runtime: Any
    stage: StageSpec

    def profile_for(self, shape: Shape) -> int:
        """The optimization profile that takes inputs of this shape.

        Raises:
            BackendError: there is none; the message lists those that there are.
        """
        profiles = self.profiles()
        for index, (least, _, most) in enumerate(profiles):
            if len(least) == len(shape) and all(
                low <= side <= high for low, side, high in zip(least, shape, most, strict=True)
            ):
                return index
        known = ", ".join("x".join(map(str, most)) for _, _, most in profiles)
        raise BackendError(
            f"the engine of stage {self.stage.name!r} takes no input of shape {shape}; it was built for: {known}"
        )

    def profiles(self) -> list[tuple[Shape, Shape, Shape]]:
        """Least, best and largest input shape of each optimization profile."""
        return [
            tuple(tuple(dims) for dims in self.handle.get_tensor_profile_shape(self.stage.input, index))  # pyright: ignore[reportReturnType]
            for index in range(self.handle.num_optimization_profiles)
        ]

    def new_context(self) -> Any:
        """An execution context.

        Raises:
            BackendError: the library makes none, as where memory is short.
        """
        if hasattr(self.handle, "create_runtime_config"):  # TensorRT-RTX
            config = self.handle.create_runtime_config()
            # Kernels that change behind a captured graph would not be in it.
            strategies = self.trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            context = self.handle.create_execution_context(config)
        else:
            context = self.handle.create_execution_context()
        if context is None:
            raise BackendError(
                f"{self.package} makes no execution context for stage {self.stage.name!r}: is GPU memory short?"
            )
        return context


def read_engine(bundle: Bundle, stage: StageSpec, library: str, capability: int) -> Engine:
    """Read the engine of a stage back that was built for a card.

    Args:
        library: "tensorrt" or "tensorrt_rtx"; also the name of the stage's artifact.
        capability: of the card whose context is current on this thread: compute capability times ten.
    Raises:
        BackendError: the library does not load or refuses the engine, there is none for that card, or its tensors
            are not the manifest's.
    """
    trt = _load(library)
    path = _engine_path(bundle, stage, library, capability)
    where = bundle.root / path
    messages: list[str] = []
    runtime = trt.Runtime(_logger(trt, messages))
    handle = runtime.deserialize_cuda_engine(bundle.buffer(path))
    if handle is None:
        reason = "; ".join(messages[-2:]) or "no reason in its log"
        raise BackendError(
            f"{where}: {library} {trt.__version__} refuses the engine (gen2seg doctor says more): {reason}"
        )
    engine = Engine(library, trt, handle, runtime, stage)
    _check_tensors(engine, where)
    return engine


def _load(library: str) -> Any:
    try:
        return import_module(library)
    except Exception as error:  # a missing shared library is an OSError, a RuntimeError or an ImportError
        package = library.replace("_", "-")
        raise BackendError(
            f"the {library} backend needs: pip install 'gen2seg[{package}]' ({type(error).__name__}: {error})"
        ) from error


def _engine_path(bundle: Bundle, stage: StageSpec, library: str, capability: int) -> str:
    engines = engine_files(library, stage)
    fitting = fitting_engine(engines, capability)
    if fitting is None:
        found = "; ".join(f"{engine.path} for {', '.join(f'sm_{sm}' for sm in engine.sms)}" for engine in engines)
        raise BackendError(
            f"{bundle.root}: stage {stage.name!r} needs an .engine of {library} for sm_{capability}, "
            f"got {found or 'none'}"
        )
    return fitting.path


def _logger(trt: Any, messages: list[str]) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                messages.append(msg)

    return Logger()


def _check_tensors(engine: Engine, where: Any) -> None:
    trt, handle, stage = engine.trt, engine.handle, engine.stage
    names = [handle.get_tensor_name(index) for index in range(handle.num_io_tensors)]
    found = {name: (handle.get_tensor_mode(name), handle.get_tensor_dtype(name)) for name in names}
    promised = {
        stage.input: (trt.TensorIOMode.INPUT, trt.DataType.FLOAT),
        stage.output: (trt.TensorIOMode.OUTPUT, trt.DataType.FLOAT),
    }
    if found != promised:
        raise BackendError(
            f"{where}: the manifest promises one float32 input {stage.input!r} and output {stage.output!r}, "
            f"the engine has {found}"
        )
