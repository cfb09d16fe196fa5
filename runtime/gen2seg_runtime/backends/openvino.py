"""OpenVINO on the CPU: a stage from its IR, or from its ONNX graph where that holds its weights itself."""

import ctypes
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.manifest import StageSpec

_NAME = "openvino"
# What the manifest's facts may ask for -> the name that OpenVINO reports.
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16"}


class OpenVinoStage:
    """A stage of a bundle, compiled by OpenVINO for the CPU.

    Graph and weights are parsed from the very bytes that were digested; weights are handed over as mapped memory.
    The inference precision is the one that is asked for, else the one that the manifest's facts name
    (`inference_precision`, "f32" where they say nothing), never the library's own choice: it computes float32 graphs
    in bfloat16 where the processor can.
    """

    backend = _NAME
    device = "cpu"

    def __init__(self, bundle: Bundle, stage: StageSpec, threads: int, options: Mapping[str, Any] | None = None):
        """Open the session.

        Args:
            options: `streams`, how many calls of `run` from several threads are served at the same time, with
                `threads` divided among them (1 if not given: each call gets them all); `inference_precision`,
                "f32" or "bf16", in place of what the manifest says: what was verified holds for the manifest's.
        Raises:
            BackendError: openvino is missing or refuses the graph, the graph's input and output are not those
                of the manifest, a bad option, more streams than threads, the facts ask for an unknown precision,
                bfloat16 is an option and the processor has none, or the ONNX graph (there being no IR) keeps
                weights in another file, which OpenVINO would read past the digests.
        """
        try:
            import openvino
        except ImportError as error:
            raise BackendError("the openvino backend needs: pip install openvino") from error
        self._stage = stage
        where = bundle.root / stage.path
        core = openvino.Core()
        asked = _asked_precision(core, stage, where, options or {})
        streams = _asked_streams(threads, options or {})
        config = {"INFERENCE_PRECISION_HINT": asked, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
        # Kept as long as the session: constants may be used where they are mapped.
        graph, self._weights = _content(bundle, stage)
        try:
            model = core.read_model(graph, _tensor(openvino, self._weights))
            _check_names(model, stage, where)
            self._model: Any = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise BackendError(f"{where}: openvino refuses the model: {error}") from error
        found = self._model.get_property("INFERENCE_PRECISION_HINT").to_string()
        if asked == "f32" and found != "f32":
            raise BackendError(f"{where}: float32 arithmetic was asked for, openvino computes in {found}")
        self.streams = int(self._model.get_property("NUM_STREAMS"))
        shape = model.input(0).partial_shape
        self._fixed_batch: int | None = shape[0].get_length() if shape[0].is_static else None
        self._idle: deque[Any] = deque()

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> (N, C', H', W') float32; see `StageSession.run`."""
        if self._fixed_batch == 1 and len(x) > 1:
            return np.concatenate([self._infer(x[i : i + 1]) for i in range(len(x))])
        return self._infer(x)

    def _infer(self, x: np.ndarray) -> np.ndarray:
        try:  # a request serves one call at a time; deque's ends are safe between threads
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        try:
            request.infer([np.ascontiguousarray(x)])
            return request.get_output_tensor(0).data.copy()
        except RuntimeError as error:
            raise BackendError(
                f"openvino failed on an input of shape {x.shape} for stage {self._stage.name!r}: {error}"
            ) from error
        finally:
            self._idle.append(request)


def _asked_precision(core: Any, stage: StageSpec, where: Any, options: Mapping[str, Any]) -> str:
    can = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "inference_precision" in options:
        asked = options["inference_precision"]
        if not isinstance(asked, str) or asked not in _PRECISIONS:
            raise BackendError(f"openvino: inference_precision must be {_names()}, got {asked!r}")
        if asked == "bf16" and not can:
            raise BackendError("openvino: inference_precision bf16 needs a processor with bfloat16 arithmetic")
        return asked
    asked = stage.facts.get(_NAME, {}).get("inference_precision", "f32")
    if asked not in _PRECISIONS:
        raise BackendError(f"{where}: inference_precision must be {_names()}, got {asked!r}")
    # Asked for bfloat16 without the instructions, some versions emulate it, slower than float32.
    return asked if can else "f32"


def _asked_streams(threads: int, options: Mapping[str, Any]) -> int:
    streams = options.get("streams", 1)
    if isinstance(streams, bool) or not isinstance(streams, int) or not 1 <= streams <= threads:
        raise BackendError(f"openvino: streams must be a number from 1 to the {threads} threads, got {streams!r}")
    return streams


def _names() -> str:
    return f"one of {', '.join(_PRECISIONS)}"


def _content(bundle: Bundle, stage: StageSpec) -> tuple[bytes, memoryview]:
    """The verified bytes of the IR and of its weights, or of the ONNX graph and nothing."""
    if _NAME in stage.artifacts:
        paths = stage.artifacts[_NAME]
        graphs = [path for path in paths if path.endswith(".xml")]
        weights = [path for path in paths if path.endswith(".bin")]
        if len(graphs) != 1 or len(weights) != 1:
            raise BackendError(f"{bundle.root}: stage {stage.name!r} needs one .xml and one .bin, got {list(paths)}")
        return bytes(bundle.buffer(graphs[0])), bundle.buffer(weights[0])
    graph = bundle.read(stage.path)
    # The key of every reference to another file, however it is encoded; OpenVINO would look in the working folder.
    if b"location" in graph:
        raise BackendError(
            f"{bundle.root / stage.path}: keeps weights in another file, and openvino takes them from verified "
            "memory only as IR; export the bundle again with --target openvino, or use backend 'onnxruntime'"
        )
    return graph, memoryview(b"")


def _tensor(openvino: Any, weights: memoryview) -> Any:
    """The bytes as a tensor that shares their memory."""
    if not len(weights):
        return openvino.Tensor(np.zeros(0, np.uint8))
    # The constructor insists on memory that may be written, which OpenVINO does not do to weights; a copy
    # would hold them twice. The pages stay read-only: a write would end the process, not change the file.
    address = np.frombuffer(weights, np.uint8).ctypes.data
    view = (ctypes.c_uint8 * len(weights)).from_address(address)
    return openvino.Tensor(np.frombuffer(memoryview(view), np.uint8), shared_memory=True)


def _check_names(model: Any, stage: StageSpec, where: Any) -> None:
    inputs = {name: item.element_type.to_string() for item in model.inputs for name in item.names}
    outputs = {name: item.element_type.to_string() for item in model.outputs for name in item.names}
    if len(model.inputs) != 1 or inputs.get(stage.input) != "f32" or outputs.get(stage.output) != "f32":
        raise BackendError(
            f"{where}: the manifest promises a float32 input {stage.input!r} and output {stage.output!r}, "
            f"the graph has inputs {inputs} and outputs {outputs}"
        )
