"""The networks of a bundle, one after the other, each perhaps in a library of its own."""

from collections.abc import Iterator, Sequence

import numpy as np

from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.colors import check_finite


class Chain:
    """A bundle's opened stages; a `Backend`.

    Attributes:
        name: of the library, or of all of them joined by "+" in the order they come in.
        device: likewise.
        sessions: (name of the stage, its session), in the order they run.
    """

    def __init__(self, sessions: Sequence[tuple[str, StageSession]]):
        self.sessions = tuple(sessions)
        self.name = "+".join(dict.fromkeys(session.backend for _, session in sessions))
        self.device = "+".join(dict.fromkeys(session.device for _, session in sessions))

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 -> the last stage's output; see `Backend.run`."""
        raw = x
        for _, output in self._steps(x):
            raw = output
        return raw

    def run_stages(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """(N, 3, H, W) float32 -> what each stage gives, by its name; see `Backend.run_stages`."""
        return dict(self._steps(x))

    def _steps(self, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        for name, session in self.sessions:
            x = session.run(x)
            # NaN and infinity reach the extremes, and these need no array of flags.
            if not (x.size and np.isfinite(x.min()) and np.isfinite(x.max())):
                check_finite(x, f"stage {name!r} ({session.backend})")
            yield name, x
