"""ONNX Runtime on the CPU."""

from typing import Any

import numpy as np

from gen2seg_runtime.backends.graph_cache import graph_key, open_optimized
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import StageSpec

_ERRORS_ONLY = 3


class OnnxRuntimeStage:
    """A graph of a bundle in an ONNX Runtime session on the CPU.

    The session is made from the very bytes that were digested. External weights (files with role "model_data") are
    handed over as mapped memory of the files that were digested (`Bundle.buffer` says what that guarantees): the
    session takes one copy of its own, and the mapped pages are the system's to drop. A graph that refers to any
    other file is refused. What the library makes of a graph that holds its weights itself is kept for the next
    process where GEN2SEG_GRAPH_CACHE asks for it (`graph_cache`).
    """

    backend = "onnxruntime"
    device = "cpu"

    def __init__(self, bundle: Bundle, stage: StageSpec, threads: int):
        """Open the session.

        Raises:
            BackendError: onnxruntime is missing or refuses the graph, or the graph's input and output
                are not those of the manifest.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError("the onnxruntime backend needs: pip install onnxruntime") from error
        # Kept as long as the session: it may read weights from the mapping at any time.
        self._external = bundle.external_data(stage)
        try:
            digest = bundle.manifest.file(stage.path).sha256
            self._session: Any = _open_session(onnxruntime, bundle.read(stage.path), digest, self._external, threads)
        except BackendError:
            raise
        except Exception as error:  # its errors share no base class
            raise BackendError(f"{bundle.root / stage.path}: onnxruntime refuses the model: {error}") from error
        self._stage = stage
        _check_names(self._session, stage, bundle)

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> (N, C', H', W') float32; see `StageSession.run`."""
        try:
            return self._session.run([self._stage.output], {self._stage.input: x})[0]
        except Exception as error:  # its errors share no base class
            raise BackendError(
                f"onnxruntime failed on an input of shape {x.shape} for stage {self._stage.name!r}: {error}"
            ) from error


def _open_session(onnxruntime: Any, graph: bytes, digest: str, external: dict[str, memoryview], threads: int) -> Any:
    levels = onnxruntime.GraphOptimizationLevel

    def plain(write_to: str | None) -> Any:
        options = _session_options(onnxruntime, threads)
        if write_to is not None:
            options.optimized_model_filepath = write_to
        if external:
            buffers = list(external.values())
            options.add_external_initializers_from_files_in_memory(
                list(external), buffers, [len(data) for data in buffers]
            )
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def kept(content: bytes) -> Any:
        options = _session_options(onnxruntime, threads)
        options.graph_optimization_level = levels.ORT_DISABLE_ALL  # it has them all
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    if external:  # the optimised graph would hold all the weights again
        return plain(None)

    def key() -> str:
        library = f"{onnxruntime.__version__} {onnxruntime.get_build_info()}"
        return graph_key(digest, library, "ORT_ENABLE_ALL")

    return open_optimized(graph, key, plain, kept)


def _session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    # Every picture has its own size: patterns remembered for one would only hold memory for the next.
    options.enable_mem_pattern = False
    return options


def _check_names(session: Any, stage: StageSpec, bundle: Bundle) -> None:
    inputs = {item.name: item.type for item in session.get_inputs()}
    outputs = {item.name: item.type for item in session.get_outputs()}
    if inputs != {stage.input: "tensor(float)"} or outputs.get(stage.output) != "tensor(float)":
        raise BackendError(
            f"{bundle.root / stage.path}: the manifest promises a float32 input {stage.input!r} and output "
            f"{stage.output!r}, the graph has inputs {inputs} and outputs {outputs}"
        )
