"""From a picture file to an encoding, through a real ONNX graph."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gen2seg_runtime.bundle as bundle_module
from gen2seg_runtime import Encoding, Segmenter
from gen2seg_runtime.errors import BackendError, BundleError, ImageError, ImageReadError, NetworkOutputError

from .conftest import BundleMaker, painting_graph, write_bundle


@pytest.fixture
def segmenter(make_bundle: BundleMaker) -> Segmenter:
    return Segmenter.open(make_bundle(), threads=1)


def test_properties(segmenter: Segmenter):
    assert segmenter.backend_name == "onnxruntime"
    assert segmenter.manifest.name == "painter"
    assert segmenter.bundle.manifest is segmenter.manifest


def test_picture_in_mask_out(segmenter: Segmenter, squares: np.ndarray, squares_file: Path):
    for image in (squares_file, str(squares_file), Image.open(squares_file), squares):
        encoding = segmenter.encode(image)
        assert isinstance(encoding, Encoding)
        assert encoding.size == (60, 80)
        # the painting network gives the picture back, up to truncation of 29.99998
        assert encoding.colors.shape == (60, 80, 3)
        assert np.abs(encoding.colors.astype(int) - squares).max() <= 1
        assert encoding.mask([(20, 20)]).sum() == 400
        assert len(encoding.instances()) == 2
        assert encoding.bundle_id == segmenter.bundle.id
        assert encoding.bundle_name == "painter"
        assert encoding.prompt == segmenter.manifest.prompt


@pytest.mark.parametrize(
    ("size", "content"),
    [((1, 1), (64, 64)), ((1, 5000), (1, 128)), ((5000, 1), (128, 1)), ((300, 200), (128, 85)), ((33, 70), (33, 70))],
)
def test_every_size_comes_back_at_its_own(segmenter: Segmenter, size: tuple[int, int], content: tuple[int, int]):
    encoding = segmenter.encode(np.full((*size, 3), 200, np.uint8))
    assert encoding.colors.shape == (*content, 3)
    assert encoding.mask([(0, 0)]).shape == size
    assert encoding.mask([(size[1] - 1, size[0] - 1)]).all()


def test_batch_equals_single(segmenter: Segmenter, squares: np.ndarray, squares_file: Path):
    images = [squares, squares_file, squares[:, ::-1], np.full((20, 500), 90, np.uint8)]
    encodings = segmenter.encode_batch(images)
    assert len(encodings) == 4
    for encoding, image in zip(encodings, images, strict=True):
        single = segmenter.encode(image)
        np.testing.assert_array_equal(encoding.colors, single.colors)
        assert encoding.size == single.size
    assert segmenter.encode_batch([]) == []


def test_batch_fails_for_the_first_bad_picture(segmenter: Segmenter, squares: np.ndarray, tmp_path: Path):
    with pytest.raises(ImageReadError, match=r"missing\.png"):
        segmenter.encode_batch([squares, tmp_path / "missing.png", squares])


def test_threads_share_a_segmenter(segmenter: Segmenter, squares: np.ndarray):
    images = [np.roll(squares, i, axis=1) for i in range(8)]
    expected = [segmenter.encode(image).colors for image in images]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(segmenter.encode, images), expected, strict=True):
            np.testing.assert_array_equal(got.colors, want)


def test_pixel_limit(segmenter: Segmenter, squares: np.ndarray):
    with pytest.raises(ImageError, match="limit"):
        segmenter.encode(squares, max_pixels=100)


def test_normalisation_of_the_manifest_is_used(make_bundle: BundleMaker, squares: np.ndarray):
    def change(manifest: dict[str, Any]) -> None:
        manifest["output"] |= {"normalization": "sd", "range": None}

    dim = squares // 2
    encoding = Segmenter.open(make_bundle(change)).encode(dim)
    assert encoding.colors.max() >= 254  # stretched per picture


def test_nan_from_the_network_names_the_stage(make_bundle: BundleMaker, squares: np.ndarray):
    model = painting_graph()
    for tensor in model.graph.initializer:
        if tensor.name == "scale":
            tensor.raw_data = np.array([np.nan], np.float32).tobytes()
    root = make_bundle(files={"model.onnx": ("model", model.SerializeToString())})
    with pytest.raises(NetworkOutputError, match="stage 'network'"):
        Segmenter.open(root).encode(squares)


def test_wrong_shape_from_the_network_is_refused(segmenter: Segmenter, squares: np.ndarray):
    class Halving:
        name, device = "halving", "cpu"

        def run(self, x: np.ndarray) -> np.ndarray:
            return x[:, :, ::2]

        def run_stages(self, x: np.ndarray) -> dict[str, np.ndarray]:
            return {"network": self.run(x)}

    with pytest.raises(NetworkOutputError, match=r"network output: expected \(1, 3, 64, 96\)"):
        Segmenter(segmenter.bundle, Halving()).encode(squares)


def test_open_needs_a_bundle_and_a_backend(make_bundle: BundleMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BackendError, match="unknown backend"):
        Segmenter.open(make_bundle(), backend="nothing")
    with pytest.raises(BackendError, match="threads"):
        Segmenter.open(make_bundle(name="other"), threads=0)
    monkeypatch.setattr(bundle_module, "__file__", str(tmp_path / "bundle.py"))
    with pytest.raises(BundleError, match="no embedded model"):
        Segmenter.open()
    files = {"model.onnx": ("model", painting_graph().SerializeToString())}
    write_bundle(tmp_path / "models" / "gen2seg-tiny", files)
    assert Segmenter.open().manifest.name == "painter"
