"""NaN and infinity out of a network are an error that names the stage and the library, wherever they are."""

import numpy as np
import pytest

from gen2seg_runtime import Bundle, Segmenter
from gen2seg_runtime.backends.chain import Chain
from gen2seg_runtime.errors import NetworkOutputError
from tests.runtime.conftest import BundleMaker, make_bundle, painting_graph

__all__ = ["make_bundle"]  # a fixture

pytestmark = pytest.mark.filterwarnings("ignore::gen2seg_runtime.errors.BundleWarning")


class Broken:
    """A stage that gives its input back, but for one value."""

    backend = "fake"
    device = "nowhere"

    def __init__(self, place: tuple[int, ...] | None, value: float):
        self._place, self._value = place, value

    def run(self, x: np.ndarray) -> np.ndarray:
        y = x.copy()
        if self._place is not None:
            y[self._place] = self._value
        return y


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, 2, 19, 29), (0, 1, 31, 31)], ids=["first", "last", "padding"])
@pytest.mark.parametrize("broken", [0, 1])
def test_any_stage_of_a_chain(make_bundle: BundleMaker, value: float, place: tuple[int, ...], broken: int):
    stages = [Broken(place if i == broken else None, value) for i in range(2)]
    chain = Chain([("encoder", stages[0]), ("decoder", stages[1])])

    def change(manifest: dict) -> None:
        manifest["input"]["resize"] |= {"enlarge_below": 0}

    segmenter = Segmenter(Bundle.open(make_bundle(change)), chain)
    for run in (segmenter.encode, segmenter.encode_with_stages, lambda p: segmenter.encode_batch([p])):
        with pytest.raises(NetworkOutputError, match=f"{('encoder', 'decoder')[broken]}.*fake"):
            run(np.zeros((20, 30, 3), np.uint8))


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_real_libraries(make_bundle: BundleMaker, library: str, value: float):
    pytest.importorskip(library)
    graph = painting_graph()
    for tensor in graph.graph.initializer:
        if tensor.name == "scale":
            tensor.raw_data = np.array([value], np.float32).tobytes()
    files = {"model.onnx": ("model", graph.SerializeToString())}
    segmenter = Segmenter.open(make_bundle(files=files), backend=library, threads=1)
    with pytest.raises(NetworkOutputError, match=f"stage 'network' \\({library}\\)"):
        segmenter.encode(np.full((64, 64, 3), 200, np.uint8))
