"""Build a TensorRT or TensorRT-RTX engine from a strongly typed ONNX file; runs in the child process.

Both libraries share one Python interface. RTX builds for a list of compute capabilities and needs no GPU for
that; TensorRT builds for the card it finds.
"""

from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

from gen2seg_export.targets.child import Tell
from gen2seg_export.targets.errors import TargetError, TargetUnavailableError

# Lines of the verbose log that say what the engine became.
_TELLING = ("Engine Layer Information", "Layer", "compute capabilities", "Compiler backend")


def load_library(name: str) -> Any:
    """Import "tensorrt" or "tensorrt_rtx".

    Raises:
        TargetUnavailableError: it is not installed, or its own libraries are missing.
    """
    try:
        return import_module(name)
    except Exception as error:  # a missing shared library is an OSError, a RuntimeError or an ImportError
        package = name.replace("_", "-")
        raise TargetUnavailableError(
            f"the target {name} needs its library: pip install 'gen2seg[{package}]' ({type(error).__name__}: {error})"
        ) from error


def build_engine(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Build one engine.

    Args:
        job: `library`, `graph` (path), `engine` and `log` (paths to write), `shapes` (list of (N, C, H, W)),
            `sms` (list of compute capabilities times ten; empty: the card of this machine), `level` (builder
            optimization level or None).
    Returns:
        `version`, `input`, `products` (layers with weights or matrix products by format), `flags`, `network_layers`.
    Raises:
        TargetUnavailableError: see `load_library`.
        TargetError: the parser refuses the graph, a shape does not fit, or the build fails.
    """
    trt = load_library(job["library"])
    logger = _logger(trt)
    builder = trt.Builder(logger)
    if builder is None:
        raise TargetError(f"{job['library']} makes no builder here: {logger.last()}")
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    tell("parsing the graph")
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(job["graph"]):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise TargetError(f"{Path(job['graph']).name}: the {job['library']} parser refuses the graph: {errors}")
    config = builder.create_builder_config()
    flags = _configure(trt, builder, config, network, job)
    config.progress_monitor = monitor = _monitor(trt, tell)
    tell("building")
    engine = builder.build_serialized_network(network, config)
    del monitor
    Path(job["log"]).write_text(logger.text(Path(job["graph"])), encoding="utf-8")
    if engine is None:
        raise TargetError(f"{Path(job['graph']).name}: {job['library']} builds no engine: {logger.last()}")
    with Path(job["engine"]).open("wb") as file:
        file.write(memoryview(engine))
    return {
        "version": trt.__version__,
        "input": network.get_input(0).name,
        "products": _products(trt, network),
        "network_layers": network.num_layers,
        "flags": flags,
    }


def _configure(trt: Any, builder: Any, config: Any, network: Any, job: dict[str, Any]) -> dict[str, Any]:
    # A strongly typed network still lets float32 products run as TF32; the wide nodes are wide for a reason.
    config.clear_flag(trt.BuilderFlag.TF32)
    # A cache of tactics timed on another machine would make the engine depend on what was built before.
    config.set_flag(trt.BuilderFlag.DISABLE_TIMING_CACHE)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layer types readable on the card
    # TensorRT-RTX may otherwise allocate while it runs, which no CUDA graph can hold; TensorRT has no such flag.
    user_allocation = getattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None)
    if user_allocation is not None:
        config.set_flag(user_allocation)
    if job["level"] is not None:
        config.builder_optimization_level = job["level"]
    if job["sms"]:
        config.num_compute_capabilities = len(job["sms"])
        for i, sm in enumerate(job["sms"]):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), i):
                raise TargetError(f"{job['library']} {trt.__version__} does not build for compute capability {sm}")
    if network.num_inputs != 1:
        raise TargetError(f"one input was expected, the graph has {network.num_inputs}")
    source = network.get_input(0)
    free = tuple(source.shape)
    for shape in job["shapes"]:
        if len(shape) != len(free) or any(want not in (have, -1) for want, have in zip(free, shape, strict=True)):
            raise TargetError(f"input {source.name} has the shape {free}; {tuple(shape)} does not fit")
        if -1 in free:
            profile = builder.create_optimization_profile()
            profile.set_shape(source.name, tuple(shape), tuple(shape), tuple(shape))
            config.add_optimization_profile(profile)
    return {
        "strongly_typed": bool(network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)),
        "tf32": bool(config.get_flag(trt.BuilderFlag.TF32)),
        "user_allocation": user_allocation is not None and bool(config.get_flag(user_allocation)),
        "optimization_level": config.builder_optimization_level,
    }


def _products(trt: Any, network: Any) -> dict[str, int]:
    """How many convolutions and matrix products the parsed network has in each format."""
    kinds = {trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY}
    counts: Counter[str] = Counter()
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type in kinds:
            name = str(layer.get_output(0).dtype.name)
            counts[_FORMAT_NAMES.get(name, name)] += 1
    return dict(counts)


_FORMAT_NAMES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity != trt.ILogger.VERBOSE or any(word in message for word in _TELLING):
                self.lines.append(f"[{severity.name}] {message}")

        def last(self) -> str:
            bad = [line for line in self.lines if line.startswith(("[ERROR]", "[INTERNAL_ERROR]"))]
            return "; ".join(bad[-3:]) or "no reason in its log"

        def text(self, graph: Path) -> str:
            # The log goes into bundles; folders of this machine do not.
            return "\n".join(self.lines).replace(f"{graph.parent}/", "") + "\n"

    return Logger()


def _monitor(trt: Any, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: Any, parent_phase: Any, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: Any, step: int) -> bool:
            tell(f"{phase_name}: {step + 1} of {self._steps.get(phase_name, 0)}")
            return True

        def phase_finish(self, phase_name: Any) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
