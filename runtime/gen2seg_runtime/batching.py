"""Run several inputs of one size together, where that changes no bit of any result.

A network with a free batch axis takes N pictures at once, but a library may then add up in another order. Which order
it takes depends on the shapes, not on the values: so the first group of each shape is run both ways and compared.
Only where every bit agrees are later groups of that shape run together; all others go one by one.
"""

import numpy as np

from gen2seg_runtime.backends import Backend
from gen2seg_runtime.errors import BackendError

# A graph with a fixed batch axis is refused cleanly by ONNX Runtime; OpenVINO was seen to fail on single pictures
# after it had refused a batch. So nothing else is tried.
_TRIED = ("onnxruntime",)


class GroupRunner:
    """Runs groups of inputs on a backend; may be shared between threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._equal: dict[tuple[int, ...], bool] = {}  # (N, 3, H, W) -> together is the same as one by one

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Inputs (1, 3, H, W) float32 of one shape -> for each what `Backend.run` gives for it alone.

        Raises:
            as `Backend.run`.
        """
        if len(inputs) < 2 or self._backend.name not in _TRIED:
            return [self._backend.run(x) for x in inputs]
        shape = (len(inputs), *inputs[0].shape[1:])
        if self._equal.get(shape):
            return self._together(inputs)
        alone = [self._backend.run(x) for x in inputs]
        if shape not in self._equal:
            self._equal[shape] = self._same(inputs, alone)
        return alone

    def _together(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        raw = self._backend.run(np.concatenate(inputs))
        return [raw[i : i + 1] for i in range(len(inputs))]

    def _same(self, inputs: list[np.ndarray], alone: list[np.ndarray]) -> bool:
        try:
            together = self._together(inputs)
        except BackendError:  # the graph takes one picture at a time
            return False
        return all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(alone, together, strict=True))
