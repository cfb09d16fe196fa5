"""The runtime on the embedded model, beside the bare network: what our own steps cost."""

import numpy as np
import pytest

from gen2seg_runtime import Segmenter
from gen2seg_runtime.preprocess import network_input, plan_geometry


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.open()


@pytest.mark.benchmark(group="encode, 480x640")
def test_bare_network(benchmark, segmenter: Segmenter, picture: np.ndarray) -> None:
    spec = segmenter.manifest.input
    x = network_input(picture, spec, plan_geometry((480, 640), spec))
    benchmark(segmenter._backend.run, x)


@pytest.mark.benchmark(group="encode, 480x640")
def test_encode(benchmark, segmenter: Segmenter, picture: np.ndarray) -> None:
    benchmark(segmenter.encode, picture)


@pytest.mark.benchmark(group="after the encode, 480x640")
@pytest.mark.parametrize("what", ["click", "instances", "edges"])
def test_after(benchmark, segmenter: Segmenter, picture: np.ndarray, what: str) -> None:
    encoding = segmenter.encode(picture)
    calls = {
        "click": lambda: encoding.mask([(320, 200)]),
        "instances": lambda: encoding.instances(),
        "edges": lambda: encoding.edges(),
    }
    benchmark(calls[what])
