"""Engines, one after the other, prepared for one input shape: buffers, contexts, and one CUDA graph of it all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gen2seg_runtime.backends.engine import Engine, Shape
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.gpu.device import Buffers, Device

_BYTES = 4  # float32


class Plan:
    """A chain of engines for inputs of one shape; each output stays on the device as the next one's input.

    Attributes:
        input, output: addresses of the first input and of the last output, valid as long as the plan.
        output_shape: of the last output.
        captured: whether a CUDA graph is replayed; else every engine is enqueued, where one cannot be captured.
    """

    def __init__(self, device: Device, engines: Sequence[Engine], shape: Shape, stream: int) -> None:
        """Prepare; waits for the device.

        Raises:
            BackendError: an engine takes no such shape or refuses a call, or memory is short.
        """
        self._device, self._stream = device, stream
        self._buffers = Buffers(device)
        self._graph: Any = None
        self._contexts: list[tuple[Engine, Any]] = []
        try:
            self.input = address = self._buffers.take(_size(shape))
            for engine in engines:
                address, shape = self._add(engine, address, shape)
            self.output, self.output_shape = address, shape
            # The first run settles what the libraries leave until then, which must not be in the graph.
            self._enqueue()
            device.wait(stream)
            self.captured = all(_capturable(context, stream) for _, context in self._contexts)
            if self.captured:
                self._graph = device.capture(stream, self._enqueue)
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Enqueue it all on the stream: from `input` to `output`."""
        if self._graph is None:
            self._enqueue()
        else:
            self._device.replay(self._graph, self._stream)

    def close(self) -> None:
        """Free everything, once the stream was waited for; may be called twice."""
        if self._graph is not None:
            self._device.close_graph(self._graph)
            self._graph = None
        self._contexts.clear()
        self._buffers.close()

    def _add(self, engine: Engine, address: int, shape: Shape) -> tuple[int, Shape]:
        """Prepare one engine that reads at `address`; where it writes, and of which shape."""
        stage = engine.stage
        profile = engine.profile_for(shape)
        context = engine.new_context()
        self._contexts.append((engine, context))
        _accepted(engine, "the profile", context.set_optimization_profile_async(profile, self._stream))
        _accepted(engine, f"the input shape {shape}", context.set_input_shape(stage.input, shape))
        unsettled = context.infer_shapes()
        if unsettled:
            raise BackendError(f"{engine.package}: the shapes of {unsettled} of stage {stage.name!r} are not settled")
        made = tuple(int(side) for side in context.get_tensor_shape(stage.output))
        if not made or min(made) < 1:
            raise BackendError(f"{engine.package}: stage {stage.name!r} gives a shape {made}")
        written = self._buffers.take(_size(made))
        _accepted(engine, "the input's address", context.set_tensor_address(stage.input, address))
        _accepted(engine, "the output's address", context.set_tensor_address(stage.output, written))
        return written, made

    def _enqueue(self) -> None:
        for engine, context in self._contexts:
            _accepted(engine, "to run", context.execute_async_v3(self._stream))


def _size(shape: Shape) -> int:
    return _BYTES * int(np.prod(shape, dtype=np.int64))


def _accepted(engine: Engine, what: str, answer: bool) -> None:
    if not answer:
        raise BackendError(f"{engine.package} refuses {what} for stage {engine.stage.name!r}")


def _capturable(context: Any, stream: int) -> bool:
    """TensorRT-RTX tells; TensorRT's engines of static networks, which ours are, always are."""
    ask = getattr(context, "is_stream_capturable", None)
    return True if ask is None else bool(ask(stream))
