"""A chain of engines on one GPU: what one stage gives stays there for the next, and all are one CUDA graph."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from gen2seg_runtime.backends.chain import Chain
from gen2seg_runtime.backends.engine_runner import EngineRunner
from gen2seg_runtime.backends.engine_stage import EngineStage
from gen2seg_runtime.backends.stage import StageSession
from gen2seg_runtime.colors import check_finite


class EngineChain(Chain):
    """A `Chain` whose stages are all `EngineStage`s of one GPU."""

    def __init__(self, sessions: Sequence[tuple[str, StageSession]]):
        super().__init__(sessions)
        stages = [session for _, session in sessions if isinstance(session, EngineStage)]
        assert len(stages) == len(sessions)
        self.runner = EngineRunner(stages[0].place, [stage.engine for stage in stages])

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 -> the last stage's output; see `Backend.run`."""
        raw = self.runner.run(x)
        if not (raw.size and np.isfinite(raw.min()) and np.isfinite(raw.max())):
            self.run_stages(x)  # names the first stage that gave NaN or infinity
            check_finite(raw, f"the chain of stages ({self.name})")
        return raw

    @contextmanager
    def output_on_device(self, x: np.ndarray) -> Iterator[tuple[int, tuple[int, ...]]]:
        """See `EngineRunner.output_on_device`."""
        with self.runner.output_on_device(x) as output:
            yield output
