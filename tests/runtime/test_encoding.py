"""An encoding cannot be changed, keeps everything when saved, and answers at the size of the picture."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import gen2seg_runtime.encoding as encoding_module
from gen2seg_kernels import prompt_mask
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import (
    BundleWarning,
    EncodingFormatError,
    ImageError,
    ImageReadError,
    OutputError,
    PromptError,
)
from gen2seg_runtime.manifest import InstanceSpec, PromptSpec

from .conftest import two_squares

RED, GREEN = (20, 20), (60, 40)  # points inside the squares


def encoding(colors: np.ndarray | None = None, size: tuple[int, int] | None = None, **options: Any) -> Encoding:
    colors = two_squares() if colors is None else colors
    return Encoding(
        colors, size or (colors.shape[0], colors.shape[1]), bundle_id="ab" * 32, bundle_name="painter", **options
    )


def noisy(height: int = 60, width: int = 80) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 3))
    return np.clip(two_squares(height, width) + noise, 0, 255).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_nothing_can_be_changed():
    source = two_squares()
    enc = encoding(source)
    source[:] = 0
    assert enc.colors.any()
    for array in (enc.colors, enc.color_image(), encoding(size=(120, 160)).color_image()):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    for name in ("colors", "size", "bundle_id", "bundle_name", "prompt", "instance_defaults"):
        with pytest.raises(AttributeError):
            setattr(enc, name, None)
    assert repr(enc) == "Encoding(80×60 picture, 80×60 colours, painter)"


def test_wrong_colors_or_size_are_refused():
    with pytest.raises(ImageError, match="colors must be"):
        encoding(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ImageError, match="size must be"):
        encoding(size=(0, 4))


def test_metric_mask_by_default():
    enc = encoding()
    red = enc.mask([RED])
    assert red.dtype == np.bool_
    assert red.sum() == 400
    assert red[10:30, 10:30].all()
    both = enc.mask([RED, GREEN])
    assert both.sum() == 1300
    np.testing.assert_array_equal(enc.mask([RED, GREEN], labels=[1, 0]), red)


def test_masks_equal_single_masks():
    for enc in (encoding(), encoding(size=(120, 160)), encoding(prompt=PromptSpec(mode="reference"))):
        prompts = [[RED], [RED, GREEN], [GREEN, RED]]
        labels = [None, [1, 1], [1, 0]]
        masks = enc.masks(prompts, labels)
        assert masks.shape == (3, *enc.size)
        for mask, points, signs in zip(masks, prompts, labels, strict=True):
            np.testing.assert_array_equal(mask, enc.mask(points, signs))
    assert encoding().masks([]).shape == (0, 60, 80)
    with pytest.raises(PromptError, match="one list for each of 1 prompts"):
        encoding().masks([[RED]], labels=[])


def test_confidence():
    enc = encoding(size=(120, 160))
    mask, confidence = enc.mask([(40, 40)], return_confidence=True)
    np.testing.assert_array_equal(mask, enc.mask([(40, 40)]))
    assert 0.9 < confidence <= 1
    with pytest.raises(PromptError, match="only mode"):
        enc.mask([(40, 40)], mode="reference", return_confidence=True)


def test_options_override_the_bundle():
    enc = encoding(noisy(), prompt=PromptSpec(distance=2.0))
    assert enc.mask([RED]).sum() < 50
    assert enc.mask([RED], distance=40.0).sum() == 400
    assert encoding().mask([RED], distance=255.0, connected=True)[0, 0]
    with pytest.raises(PromptError, match=r"mode 'metric' takes distance, connected; got sigma"):
        enc.mask([RED], sigma=0.1)
    with pytest.raises(PromptError, match="distance must be positive"):
        enc.mask([RED], distance=-1)
    with pytest.raises(PromptError, match="distance must be positive"):
        enc.mask([RED], distance=-1, return_confidence=True)
    with pytest.raises(PromptError, match="unknown prompt mode"):
        enc.mask([RED], mode="magic")


def test_reference_mode_prompts_on_lanczos_colors_at_input_size():
    enc = encoding(noisy(), size=(90, 150), prompt=PromptSpec(mode="reference"))
    lanczos = np.asarray(Image.fromarray(noisy()).resize((150, 90), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(enc.color_image(), lanczos)
    points = [(37, 31)]
    expected = prompt_mask(lanczos, points, sigma=0.01, threshold=3, mode="reference")
    np.testing.assert_array_equal(enc.mask(points), expected)
    np.testing.assert_array_equal(enc.mask(points, mode="reference", threshold=3, sigma=None), expected)
    other = enc.mask(points, threshold=200)
    assert other.sum() < expected.sum()


def test_the_color_image_is_computed_once_for_all_threads(monkeypatch: pytest.MonkeyPatch):
    calls = []
    real = encoding_module.resize_colors

    def counting(*args: Any) -> np.ndarray:
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(encoding_module, "resize_colors", counting)
    enc = encoding(size=(600, 800))
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: enc.color_image(), range(32)))
    assert len(calls) == 1
    assert all(image is images[0] for image in images)


def test_threads_share_an_encoding():
    enc = encoding(noisy(), size=(180, 240))
    jobs = [
        lambda: enc.mask([(60, 60)]),
        lambda: enc.mask([(60, 60)], mode="reference"),
        lambda: enc.instances().labels,
        lambda: enc.edges(),
    ]
    expected = [job() for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: jobs[i % 4](), range(32)))
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result, expected[i % 4])


@pytest.mark.parametrize("size", [(60, 80), (180, 240), (457, 333), (30, 40)])
def test_results_have_the_size_of_the_picture_and_the_right_place(size: tuple[int, int]):
    enc = encoding(noisy(), size=size)
    truth = np.asarray(
        Image.fromarray(two_squares()[..., 0] > 100).resize((size[1], size[0]), Image.Resampling.NEAREST)
    )
    rows, columns = np.nonzero(truth)
    mask = enc.mask([(columns.mean(), rows.mean())])
    assert mask.shape == size
    assert iou(mask, truth) > 0.93
    result = enc.instances()
    assert result.labels.shape == size
    assert len(result) == 2
    assert iou(result.labels == result.labels[int(rows.mean()), int(columns.mean())], truth) > 0.93
    edges = enc.edges()
    assert edges.shape == size
    assert edges.dtype == np.float32
    assert enc.color_image().shape == (*size, 3)


@pytest.mark.parametrize(
    ("colors", "size"), [((64, 64), (1, 1)), ((1, 640), (1, 5000)), ((640, 1), (5000, 1)), ((1, 1), (9, 9))]
)
@pytest.mark.parametrize("mode", ["metric", "reference"])
def test_tiny_and_long_pictures(colors: tuple[int, int], size: tuple[int, int], mode: str):
    enc = encoding(np.full((*colors, 3), 150, np.uint8), size=size)
    mask = enc.mask([(size[1] - 1, size[0] - 1)], mode=mode)
    assert mask.shape == size
    # a flat picture: one object in mode metric, by definition empty in mode reference
    assert mask.all() if mode == "metric" else not mask.any()
    assert enc.instances(min_area=1).labels.all()
    assert not enc.edges().any()


def test_instance_options():
    enc = encoding(instances=InstanceSpec(min_area=500))
    assert len(enc.instances()) == 1
    assert len(enc.instances(min_area=16)) == 2
    assert len(enc.instances(min_area=16, background=230)) == 0
    assert len(enc.instances(min_area=16, distance=1)) == 2


def test_save_and_load_keep_everything(tmp_path: Path):
    enc = encoding(
        noisy(),
        size=(600, 801),
        prompt=PromptSpec(mode="reference", sigma=0.02, threshold=5, distance=33.0, connected=False),
        instances=InstanceSpec(distance=20.0, background=5.0, min_area=3),
    )
    enc.save(tmp_path / "a.enc.png")
    loaded = Encoding.load(tmp_path / "a.enc.png")
    np.testing.assert_array_equal(loaded.colors, enc.colors)
    for name in ("size", "bundle_id", "bundle_name", "prompt", "instance_defaults"):
        assert getattr(loaded, name) == getattr(enc, name)
    # any viewer shows the colours
    with Image.open(tmp_path / "a.enc.png") as image:
        np.testing.assert_array_equal(np.asarray(image), enc.colors)
    assert b"iTXtgen2seg\x00" in (tmp_path / "a.enc.png").read_bytes()


def test_interrupted_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.png"
    encoding().save(path)
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gen2seg_runtime.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        encoding(noisy()).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OutputError, match="does not exist"):
        encoding().save(tmp_path / "missing" / "a.png")


def write_png(path: Path, text: str | None, mode: str = "RGB") -> Path:
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_itxt("gen2seg", text)
    Image.new(mode, (4, 3)).save(path, pnginfo=info)
    return path


GOOD = (
    '{"schema": "gen2seg.encoding/1.0", "size": [3, 4], "bundle_id": "a", "bundle_name": "b", '
    '"prompt": {"mode": "metric"}, "instances": {}}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not one that Encoding.save wrote"),
        ("", "not valid JSON"),
        (GOOD[:-1], "not valid JSON"),
        ("[]", "JSON object"),
        ("{}", "schema"),
        (GOOD.replace("encoding/1.0", "encoding/2.0"), "reads major 1"),
        (GOOD.replace("gen2seg.encoding", "gen2seg.bundle"), "expected 'gen2seg.encoding/1.0'"),
        (GOOD.replace("[3, 4]", "[3]"), "size"),
        (GOOD.replace("[3, 4]", "[0, 4]"), "size"),
        (GOOD.replace("[3, 4]", "[true, 4]"), "size"),
        (GOOD.replace("metric", "magic"), r"prompt\.mode"),
        (GOOD.replace('"bundle_id": "a", ', ""), "bundle_id: missing"),
    ],
)
def test_other_png_files_are_refused(tmp_path: Path, text: str | None, message: str):
    with pytest.raises(EncodingFormatError, match=message) as caught:
        Encoding.load(write_png(tmp_path / "a.png", text))
    assert "a.png" in str(caught.value)


def test_good_chunk_loads_and_newer_minor_warns(tmp_path: Path):
    assert Encoding.load(write_png(tmp_path / "a.png", GOOD)).size == (3, 4)
    newer = GOOD.replace("/1.0", "/1.3").replace('{"schema"', '{"tiles": 1, "schema"')
    with pytest.warns(BundleWarning, match="tiles"):
        assert Encoding.load(write_png(tmp_path / "a.png", newer)).size == (3, 4)


def test_unreadable_files_are_refused(tmp_path: Path):
    with pytest.raises(ImageReadError, match=r"missing\.png"):
        Encoding.load(tmp_path / "missing.png")
    encoding().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for name, content in {"empty": b"", "text": b"no png", "cut": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EncodingFormatError, match=name):
            Encoding.load(tmp_path / name)
    with pytest.raises(EncodingFormatError, match="mode L"):
        Encoding.load(write_png(tmp_path / "grey.png", GOOD, "L"))
