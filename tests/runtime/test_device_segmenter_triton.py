"""From a picture to clicks on a FAKE device: engines of a fake TensorRT, the very kernels in Triton's interpreter."""

import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("triton")

from gen2seg_runtime import Segmenter
from gen2seg_runtime.backends import engine_stage, registry
from gen2seg_runtime.colors import normalize_colors
from gen2seg_runtime.errors import BackendError, NetworkOutputError
from gen2seg_runtime.gpu import segmenter as device_segmenter
from gen2seg_runtime.gpu.colors import paint_rule
from gen2seg_runtime.gpu.paint import DevicePainter, check_raw
from gen2seg_runtime.gpu.segmenter import DeviceSegmenter
from gen2seg_runtime.io_spec import OutputSpec

from .conftest import BundleMaker, two_squares
from .fake_gpu import FakeDevice, engine_bytes, fake_tensorrt
from .fake_machine import rtx_machine
from .interpreting_launcher import InterpretingLauncher

PADDED, CONTENT = (9, 13), (7, 11)
SPECS = [
    OutputSpec(),
    OutputSpec(range=(-1.5, 2.0)),
    OutputSpec(range=(-1.5, 2.0), gamma=0.7),
    OutputSpec(normalization="sd", range=None),
    OutputSpec(normalization="mae", range=None),
    OutputSpec(normalization="mae", range=None, gamma=0.7),
]


def paint(raw: np.ndarray, spec: OutputSpec, content: tuple[int, int] = CONTENT) -> tuple[FakeDevice, Any, np.ndarray]:
    device = FakeDevice()
    device.enter()
    stream = device.open_stream()
    address = device.allocate(raw.nbytes)
    device.upload(address, raw, stream)
    painter = DevicePainter(device, InterpretingLauncher(device))
    kept, colors = painter.paint(address, (raw.shape[1], raw.shape[2]), content, spec, stream)
    for _ in range(2):
        painter.close()
    return device, kept, colors


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.normalization} {spec.range} {spec.gamma}")
@pytest.mark.parametrize("values", ["spread", "negative", "flat", "tiny"])
def test_colours_are_those_of_the_cpu(spec: OutputSpec, values: str):
    rng = np.random.default_rng(5)
    raw = {
        "spread": rng.normal(0.3, 2, (3, *PADDED)),
        "negative": rng.uniform(-9, -3, (3, *PADDED)),
        "flat": np.zeros((3, *PADDED)),
        "tiny": rng.normal(0, 1e-20, (3, *PADDED)),
    }[values].astype(np.float32)
    device, kept, colors = paint(raw, spec)
    expected = normalize_colors(raw, spec)[: CONTENT[0], : CONTENT[1]]
    difference = np.abs(colors.astype(int) - expected)
    assert difference.max() <= (0 if spec.gamma is None else 1)
    words = device.view(kept.pixels, 4 * colors[..., 0].size).reshape(*CONTENT, 4)
    np.testing.assert_array_equal(words[..., :3], colors)
    assert not words[..., 3].any()
    kept.close()
    assert len(device.memory) == 1  # the raw output


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(wrong: float):
    raw = np.zeros((3, *PADDED), np.float32)
    raw[1, 8, 12] = wrong  # in the padding, which the range covers
    with pytest.raises(NetworkOutputError, match="1 values are NaN or infinite"):
        paint(raw, OutputSpec(normalization="sd", range=None))


def test_overflow_is_refused():
    huge = np.float32(3e38)
    for normalization in ("sd", "mae"):
        with pytest.raises(NetworkOutputError, match="overflow"):
            paint_rule(OutputSpec(normalization=normalization, range=None), -huge, huge)


def test_another_shape_is_refused():
    with pytest.raises(NetworkOutputError, match="expected"):
        check_raw((1, 3, 4, 4), (1, 3, 8, 8))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    made = FakeDevice()
    monkeypatch.setattr(engine_stage, "CudaDevice", lambda index: made)
    monkeypatch.setattr(device_segmenter, "open_kernels", lambda bundle, index: InterpretingLauncher(made))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt(made))
    monkeypatch.setattr(registry, "MACHINE", rtx_machine())
    return made


def engine_bundle(make_bundle: BundleMaker, stages: int, golden: dict[str, bytes] | None = None) -> Any:
    names = [("image", "colors")] if stages == 1 else [("image", "x"), ("x", "colors")]
    files = {}
    for i, ends in enumerate(names):
        files[f"{i}.onnx"] = ("model", b"graph")
        files[f"{i}.engine"] = ("artifact", engine_bytes(100.0 if i == 0 else -1.5, ((1, 3, 32, 64),), names=ends))

    files |= {name: ("golden", content) for name, content in (golden or {}).items()}

    def change(manifest: dict[str, Any]) -> None:
        if golden:
            manifest["goldens"] = [{"image": "image.png", "colors": "colors.png", "max_difference": 1}]
        manifest["schema"] = "gen2seg.bundle/1.1"
        manifest["model"]["path"] = "0.onnx"
        manifest["input"]["resize"] = {"rule": "fit", "size": 64, "interpolation": "bilinear_antialias"}
        manifest["input"]["buckets"] = [[32, 64]]
        manifest["output"] |= {"normalization": "sd", "range": None}
        manifest["stages"] = [
            {
                "name": f"s{i}",
                "path": f"{i}.onnx",
                "input": ends[0],
                "output": ends[1],
                "precision": {"weights": "float16", "compute": "float16"},
                "artifacts": {"tensorrt_rtx": [f"{i}.engine"]},
            }
            for i, ends in enumerate(names)
        ]

    return make_bundle(change, files, "with-golden" if golden else "bundle")


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.*untrained")
@pytest.mark.parametrize("stages", [1, 2])
def test_encode_and_click_without_leaving_the_device(make_bundle: BundleMaker, device: FakeDevice, stages: int):
    root = engine_bundle(make_bundle, stages)
    picture = two_squares(33, 47)
    plain = Segmenter.open(root, backend="tensorrt_rtx").encode(picture)
    with DeviceSegmenter.open(root) as segmenter:
        with segmenter.encode(picture) as encoding:
            np.testing.assert_array_equal(encoding.encoding.colors, plain.colors)
            assert encoding.encoding.size == (33, 47)
            for prompt in ([(15, 15)], [(46, 32)]):
                np.testing.assert_array_equal(encoding.mask(prompt), plain.mask(prompt))
        assert segmenter.segmenter.backend_name == "tensorrt_rtx"


@pytest.mark.filterwarnings("ignore:.*untrained")
def test_other_backends_are_refused(make_bundle: BundleMaker, device: FakeDevice):
    segmenter = Segmenter.open(make_bundle(), threads=1)
    with pytest.raises(BackendError, match="needs engines for all stages, these run in onnxruntime"):
        DeviceSegmenter(segmenter.bundle, segmenter._backend, InterpretingLauncher(device))  # pyright: ignore[reportArgumentType]


@pytest.mark.filterwarnings("ignore:.*untrained")
def test_what_gpu_check_compares(make_bundle: BundleMaker, device: FakeDevice):
    from bench.gpu_check.runtime import check_bundle

    picture = two_squares(33, 47)
    colors = Segmenter.open(engine_bundle(make_bundle, 1), backend="tensorrt_rtx").encode(picture).colors
    root = engine_bundle(make_bundle, 1, {"image.png": png(picture), "colors.png": png(colors)})
    checks = list(check_bundle(root))
    assert [check.name for check in checks] == [
        "tensorrt_rtx: colours of image.png",
        "tensorrt_rtx: clicks on image.png, mode metric",
        "tensorrt_rtx: clicks on image.png, mode reference",
    ]
    assert all(check.passed for check in checks)
    other = engine_bundle(
        lambda *a: make_bundle(a[0], a[1], "other"), 1, {"image.png": png(picture), "colors.png": png(255 - colors)}
    )
    assert not next(check_bundle(other)).passed
