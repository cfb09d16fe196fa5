"""Every kind of picture becomes H×W×3 uint8, and nothing else gets through."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gen2seg_runtime.errors import ImageError, ImageReadError, ImageWarning
from gen2seg_runtime.images import read_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def saved(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_rgb_comes_back_unchanged_from_every_source(tmp_path: Path):
    path = saved(tmp_path, Image.fromarray(RGB))
    for source in (path, str(path), Image.fromarray(RGB), RGB, np.asfortranarray(RGB), RGB[::-1][::-1]):
        result = read_image(source)
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
        np.testing.assert_array_equal(result, RGB)


def test_result_never_shares_memory_with_the_source():
    source = RGB.copy()
    result = read_image(source)
    source[:] = 0
    np.testing.assert_array_equal(result, RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(RGB), exif=exif)
    # By the EXIF standard: what the stored first row and column are in the upright picture.
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB.transpose(1, 0, 2), 2),
        8: np.rot90(RGB, 1),
    }[orientation]
    np.testing.assert_array_equal(read_image(path), upright)


def test_orientation_of_a_16_bit_picture(tmp_path: Path):
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(grey), exif=exif)
    np.testing.assert_array_equal(read_image(path)[..., 0], np.rot90(np.array([[0, 51, 102], [153, 204, 255]]), -1))


def test_broken_exif_warns_and_is_ignored():
    image = Image.fromarray(RGB)
    image.info["exif"] = b"Exif\x00\x00garbage that is no TIFF"
    with pytest.warns(ImageWarning, match="EXIF"):
        np.testing.assert_array_equal(read_image(image), RGB)


def test_grey_and_one_bit(tmp_path: Path):
    grey = RGB[..., 0]
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(grey))), np.dstack([grey] * 3))
    bits = grey > 128
    expected = np.dstack([bits * 255] * 3)
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(bits))), expected)
    np.testing.assert_array_equal(read_image(bits), expected)
    np.testing.assert_array_equal(read_image(grey), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(grey[..., None]), np.dstack([grey] * 3))


def test_16_bit_grey_is_stretched_from_its_own_range(tmp_path: Path):
    # a 12-bit camera in a 16-bit file: 100..4095
    grey = np.linspace(100, 4095, 4000).round().astype(np.uint16).reshape(40, 100)
    by_array = read_image(grey)
    assert by_array.min() == 0
    assert by_array.max() == 255
    assert (np.diff(by_array[..., 0].ravel().astype(int)) >= 0).all()
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(grey))), by_array)
    np.testing.assert_array_equal(read_image(grey.astype(">u2")), by_array)
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(grey), "a.tif")), by_array)
    np.testing.assert_array_equal(read_image(Image.fromarray(grey.astype(np.int32))), by_array)


def test_a_hot_pixel_does_not_darken_a_16_bit_picture():
    grey = np.linspace(100, 900, 10_000).astype(np.uint16).reshape(100, 100)
    grey[50, 50] = 65535
    result = read_image(grey)[..., 0]
    assert np.median(result) == pytest.approx(127, abs=3)
    assert result[50, 50] == 255


def test_few_bright_spots_on_even_ground_survive():
    grey = np.full((100, 100), 300, np.uint16)
    grey[3, 4] = 1300
    result = read_image(grey)[..., 0]
    assert result[3, 4] == 255
    assert np.count_nonzero(result) == 1


def test_flat_16_bit_picture_is_black():
    assert not read_image(np.full((3, 3), 777, np.uint16)).any()


def test_floats():
    unit = np.array([[0.0, 0.5, 1.0]])
    assert read_image(unit)[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(unit.astype(np.float32) * 0.5)[0, :, 0].tolist() == [0, 64, 128]
    assert read_image(unit * 40 - 20)[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(np.array([[-1.7e308, 1.7e308]]))[0, :, 0].tolist() == [0, 255]
    assert read_image(Image.fromarray(unit.astype(np.float32)))[0, :, 0].tolist() == [0, 128, 255]
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError, match="NaN or infinity"):
            read_image(np.array([[0.0, bad]]))


def test_transparency_is_laid_over_white(tmp_path: Path):
    rgba = np.dstack([np.full((1, 3, 3), 100, np.uint8), np.array([[0, 128, 255]], np.uint8)])
    expected = [255, 177, 100]  # 100·128/255 + 255·127/255 = 177.2
    assert read_image(rgba)[0, :, 0].tolist() == expected
    assert read_image(saved(tmp_path, Image.fromarray(rgba)))[0, :, 0].tolist() == expected
    assert read_image(Image.fromarray(rgba).convert("LA"))[0, :, 0].tolist() == expected


def test_palette_with_and_without_transparency(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert read_image(saved(tmp_path, image))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    transparent = saved(tmp_path, image, "t.png", transparency=0)
    assert read_image(transparent)[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    gif = saved(tmp_path, image, "a.gif")
    assert read_image(gif)[0].tolist() == [[10, 20, 30], [200, 100, 50]]


def test_color_key_transparency_of_rgb(tmp_path: Path):
    path = saved(tmp_path, Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8)), transparency=(1, 2, 3))
    assert read_image(path)[0].tolist() == [[255, 255, 255], [9, 9, 9]]


def test_cmyk(tmp_path: Path):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    result = read_image(saved(tmp_path, image, "a.jpg", quality=100))
    assert np.abs(result.astype(int) - [255, 0, 0]).max() <= 3
    assert read_image(image)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.uint16),
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2), np.complex64),
        np.zeros((2, 2), object),
        None,
        7,
        [[1, 2]],
    ],
    ids=range(14),
)
def test_other_shapes_and_types_are_refused(bad: Any):
    with pytest.raises(ImageError, match=r"image|array"):
        read_image(bad)


def test_unreadable_files_name_the_file(tmp_path: Path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    whole = buffer.getvalue()
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64)).save(jpeg, "JPEG")
    contents = {
        "empty.png": b"",
        "text.png": b"no picture at all",
        "truncated.png": whole[: len(whole) // 2],
        "header.png": whole[:20],
        "truncated.jpg": jpeg.getvalue()[:300],
        "flipped.png": whole[:100] + bytes([whole[100] ^ 255]) + whole[101:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageReadError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(ImageReadError, match=r"missing\.png: no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageReadError, match="too long"):
        read_image(tmp_path / ("a" * 300 + ".png"))
    with pytest.raises(ImageReadError, match="not a regular file"):
        read_image(tmp_path)


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that claims to hold width × height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def test_pixel_limit_can_be_lowered_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path, Image.fromarray(RGB))
    assert read_image(path, max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(ImageError, match=r"limit of 34.*GEN2SEG_MAX_PIXELS"):
        read_image(path, max_pixels=34)
    with pytest.raises(ImageError, match="limit"):
        read_image(RGB, max_pixels=34)
    monkeypatch.setenv("GEN2SEG_MAX_PIXELS", "34")
    with pytest.raises(ImageError, match="limit"):
        read_image(path)
    for wrong in ("", "many", "0", "-5"):
        monkeypatch.setenv("GEN2SEG_MAX_PIXELS", wrong)
        with pytest.raises(ImageError, match="positive"):
            read_image(path)
    with pytest.raises(ImageError, match="positive"):
        read_image(path, max_pixels=0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_before_unpacking(tmp_path: Path):
    for side in (13_400, 60_000):
        with pytest.raises(ImageError, match=r"bomb\.png"):
            read_image(bomb(tmp_path / "bomb.png", side, side))
    limit = Image.MAX_IMAGE_PIXELS
    # a raised limit lets it through to the decoder, which finds that there are no pixels
    with pytest.raises(ImageReadError):
        read_image(bomb(tmp_path / "bomb.png", 30_000, 6_000), max_pixels=190_000_000)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_one_pixel_and_long_pictures(tmp_path: Path):
    for shape in ((1, 1), (1, 5000), (5000, 1)):
        grey = np.full(shape, 9, np.uint8)
        assert read_image(saved(tmp_path, Image.fromarray(grey))).shape == (*shape, 3)


def test_formats_that_start_other_programs_are_not_read(tmp_path: Path):
    path = saved(tmp_path, Image.fromarray(RGB), "a.eps")
    with pytest.raises(ImageReadError, match="known format"):
        read_image(path)


def test_a_span_below_all_normal_numbers_is_stretched():
    for kind, tiny in (("f2", 6e-8), ("f4", 1e-44), ("f8", 5e-324)):
        grey = np.array([[-tiny, 0.0]], kind)
        assert read_image(grey)[0, :, 0].tolist() == [0, 255], kind


def test_a_masked_array_is_refused():
    with pytest.raises(ImageError, match="masked"):
        read_image(np.ma.masked_array(RGB, RGB > 9))
