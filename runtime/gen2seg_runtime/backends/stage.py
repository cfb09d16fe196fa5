"""What a backend provides: one opened network of the chain."""

from typing import Protocol

import numpy as np


class StageSession(Protocol):
    """One opened stage.

    Attributes:
        backend: its name in the registry.
        device: where it runs, in words ("cpu").
    """

    backend: str
    device: str

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> (N, C', H', W') float32. May be called from several threads at once.

        Raises:
            BackendError: the library refused to run.
        """
        ...
