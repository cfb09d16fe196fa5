"""How the vision transformers take pictures: what the image processor's file of a checkpoint says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen2seg.errors import LayoutError

PROCESSOR_FILE = "preprocessor_config.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_BILINEAR = 2  # PIL's number
# transformers' names for one and the same processor.
_PROCESSORS = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor")


@dataclass(frozen=True)
class ImageRule:
    """Picture -> squashed to (side, side), bilinear with antialias; x = (colour / scale - mean) / std, RGB."""

    side: int  # pixels
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    scale: float = 255.0

    def processor_config(self) -> dict[str, Any]:
        """The same as the content of `preprocessor_config.json`."""
        return {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": list(self.mean),
            "image_processor_type": "ViTImageProcessor",
            "image_std": list(self.std),
            "resample": _BILINEAR,
            "rescale_factor": 1 / self.scale,
            "size": {"height": self.side, "width": self.side},
        }


def read_image_rule(config: Mapping[str, Any], side: int, where: str | Path) -> ImageRule:
    """The rule of a ViT image processor; keys that the file lacks have the library's defaults.

    Args:
        config: content of `preprocessor_config.json`.
        side: picture side that the network takes, in pixels.
        where: named in messages.
    Raises:
        LayoutError: another processor, or a step that this project's bundles cannot repeat.
    """
    name = config.get("image_processor_type", config.get("feature_extractor_type", _PROCESSORS[0]))
    if name not in _PROCESSORS:
        raise LayoutError(f"{where}: image_processor_type must be one of {', '.join(_PROCESSORS)}, got {name!r}")
    _check_steps(config, where)
    found = _side(config.get("size", 224), where)
    if found != side:
        raise LayoutError(f"{where}: size must be {side}, which the network takes, got {config.get('size', 224)!r}")
    normalize = _flag(config, "do_normalize", True, where)
    rescale = _flag(config, "do_rescale", True, where)
    factor = _numbers(config, "rescale_factor", 1, (1 / 255,), where)[0] if rescale else 1.0
    if factor <= 0:
        raise LayoutError(f"{where}: rescale_factor must be positive, got {factor}")
    mean = _numbers(config, "image_mean", 3, (0.5, 0.5, 0.5), where) if normalize else (0.0, 0.0, 0.0)
    std = _numbers(config, "image_std", 3, (0.5, 0.5, 0.5), where) if normalize else (1.0, 1.0, 1.0)
    if min(std) <= 0:
        raise LayoutError(f"{where}: image_std must be positive, got {list(std)}")
    # 1/255 is written in decimals; its reciprocal is to be the whole number again.
    scale = round(1 / factor) if abs(1 / factor - round(1 / factor)) < 1e-6 / factor else 1 / factor
    return ImageRule(side, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), float(scale))


def _check_steps(config: Mapping[str, Any], where: str | Path) -> None:
    if not _flag(config, "do_resize", True, where):
        raise LayoutError(f"{where}: do_resize must be true: pictures of any size are taken")
    for key in ("do_center_crop", "do_pad"):
        if config.get(key):
            raise LayoutError(f"{where}: {key} must be false, got {config[key]!r}; the picture is squashed instead")
    if config.get("resample", _BILINEAR) != _BILINEAR:
        raise LayoutError(f"{where}: resample must be {_BILINEAR} (bilinear), got {config['resample']!r}")


def _side(size: Any, where: str | Path) -> int:
    if isinstance(size, Mapping) and set(size) == {"height", "width"} and size["height"] == size["width"]:
        size = size["height"]
    if isinstance(size, bool) or not isinstance(size, int):
        raise LayoutError(f"{where}: size must be one number or equal height and width, got {size!r}")
    return size


def _flag(config: Mapping[str, Any], key: str, default: bool, where: str | Path) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise LayoutError(f"{where}: {key} must be true or false, got {value!r}")
    return value


def _numbers(
    config: Mapping[str, Any], key: str, count: int, default: tuple[float, ...], where: str | Path
) -> tuple[float, ...]:
    value = config.get(key)
    if value is None:
        return default
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) == 1 and count > 1:
        values = list(values) * count  # the library broadcasts one number over the channels
    if len(values) != count or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise LayoutError(f"{where}: {key} must be {count} number{'s' if count > 1 else ''}, got {value!r}")
    return tuple(float(v) for v in values)
