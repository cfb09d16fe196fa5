"""The manifest's way of bringing a picture in equals transformers' own image processors."""

from typing import Any

import numpy as np
import pytest
import transformers

from gen2seg.backbones.specs import square_input_spec
from gen2seg.backbones.vit_images import IMAGENET_MEAN, IMAGENET_STD, ImageRule, read_image_rule
from gen2seg_export.reference import reference_input
from gen2seg_runtime.preprocess import network_input, plan_geometry

# By class, since version 5 keeps old names as aliases; whether one works by PIL is seen below.
NAMES = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil")
PROCESSORS = {getattr(transformers, name): name for name in NAMES if hasattr(transformers, name)}

CONFIGS: dict[str, dict[str, Any]] = {
    "mae": {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD), "resample": 2, "size": 56},
    "library defaults": {"size": {"height": 56, "width": 56}},
    "no statistics": {"do_normalize": False, "size": {"height": 56, "width": 56}},
}


def smooth_picture(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (3 + c)) + np.cos(columns / (4 + c)) + 0.3 * np.sin(rows * columns / 90) for c in range(3)]
    return np.clip(128 + 55 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("processor", PROCESSORS, ids=PROCESSORS.values())
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("size", [(97, 61), (40, 133), (56, 56)], ids=str)
def test_input_equals_the_library_s_within_one_level(
    processor: Any, config: dict[str, Any], size: tuple[int, int]
) -> None:
    spec = square_input_spec(read_image_rule(config, 56, "here"), 8)
    picture = smooth_picture(*size)
    expected = np.asarray(
        processor(**config)(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    )
    ours = network_input(picture, spec, plan_geometry(size, spec))
    assert ours.shape == expected.shape
    levels = np.abs(ours - expected) * np.array(spec.std)[:, None, None] * spec.scale
    assert levels.max() <= 1.01
    # The one on torchvision rounds in between; the one on PIL is the same to the last level.
    assert levels.mean() < (1e-3 if "Pil" in PROCESSORS[processor] else 0.2)
    # The exporter's own plain way, which judges the bundle, is the same.
    np.testing.assert_allclose(reference_input(picture, spec)[0].numpy(), ours, atol=1e-5)


def test_spec_is_fixed_to_one_square() -> None:
    spec = square_input_spec(ImageRule(224), 16)
    assert spec.resize.rule == "fixed"
    assert spec.buckets == ((224, 224),)
    assert not spec.dynamic
    assert plan_geometry((480, 640), spec).padded == (224, 224)
