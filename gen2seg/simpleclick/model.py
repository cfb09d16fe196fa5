"""The network: plain ViT, clicks as an image, simple feature pyramid, light decoder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen2seg.errors import MissingExtraError
from gen2seg.toml_records import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
RADIUS = 5  # pixels: of the disc that stands for a click


@dataclass(frozen=True)
class SimpleClickConfig:
    """The architecture; the defaults are those of ViT-B, trained on 448 x 448 pixels.

    Attributes:
        size: side of the square that positions are learned for; others are interpolated.
        patch: side of a patch, a multiple of 4.
        channels: of each level in the decoder.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    size: int = 448
    channels: int = 256

    def __post_init__(self) -> None:
        values = asdict(self)
        wrong = {key: value for key, value in values.items() if type(value) is not int or value < 1}
        if wrong:
            raise ConfigError(f"SimpleClick's architecture must be of positive integers, got {wrong}")
        if self.width % self.heads or self.width % 4 or self.patch % 4 or self.size % self.patch:
            raise ConfigError(f"width must divide by heads and 4, patch by 4, size by patch; got {values}")


class SimpleClick(nn.Module):
    """Pictures and clicks to the logits of one object."""

    def __init__(self, config: SimpleClickConfig) -> None:
        """Fresh weights from torch's global generator.

        Raises:
            MissingExtraError: timm is not installed.
        """
        super().__init__()
        try:
            from timm.models.vision_transformer import VisionTransformer
        except ImportError as error:
            raise MissingExtraError("SimpleClick needs timm: pip install 'gen2seg[backbones]'") from error
        width = config.width
        self.config = config
        self.vit: Any = VisionTransformer(
            img_size=config.size,
            patch_size=config.patch,
            embed_dim=width,
            depth=config.depth,
            num_heads=config.heads,
            num_classes=0,
            class_token=False,
            global_pool="",
            dynamic_img_size=True,
        )
        self.click_embed = nn.Conv2d(3, width, config.patch, config.patch)
        half, quarter = width // 2, width // 4
        self.pyramid = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, half, 2, 2),
                    nn.GroupNorm(1, half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, 2),
                ),
                nn.ConvTranspose2d(width, half, 2, 2),
                nn.Identity(),
                nn.Conv2d(width, 2 * width, 2, 2, padding=0),
            ]
        )
        widths = (quarter, half, width, 2 * width)
        self.lateral = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(w, config.channels, 1), nn.GroupNorm(1, config.channels)) for w in widths]
        )
        self.fuse = nn.Sequential(nn.Conv2d(4 * config.channels, config.channels, 1), nn.GELU())
        self.head = nn.Conv2d(config.channels, 1, 1)

    def forward(self, images: Tensor, clicks: Tensor) -> Tensor:
        """Logits (B, 1, H, W), positive inside the object.

        Args:
            images: (B, 3, H, W) float32, (rgb - MEAN) / STD.
            clicks: (B, 3, H, W) float32: discs of positive clicks, of negative ones, probability of the mask before.
        """
        height, width = images.shape[-2:]
        multiple = 2 * self.config.patch
        frame = (0, -width % multiple, 0, -height % multiple)
        images, clicks = F.pad(images, frame), F.pad(clicks, frame)
        tokens = self.vit.patch_embed(images) + self.click_embed(clicks).permute(0, 2, 3, 1)
        rows, columns = tokens.shape[1:3]
        tokens = self.vit.norm(self.vit.blocks(self.vit._pos_embed(tokens)))
        grid = tokens.transpose(1, 2).unflatten(2, (rows, columns))
        levels = [lateral(scale(grid)) for scale, lateral in zip(self.pyramid, self.lateral, strict=True)]
        size = levels[0].shape[-2:]
        same = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in levels]
        logits = self.head(self.fuse(torch.cat(same, dim=1)))
        large = F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return large[..., :height, :width]


def draw_clicks(points: Sequence[tuple[float, float]], labels: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Discs around clicks (x, y), float32 (2, H, W): those of label 1, those of label 0."""
    discs = torch.zeros(2, *size)
    ys, xs = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    for (x, y), label in zip(points, labels, strict=True):
        discs[0 if label else 1][(xs - x) ** 2 + (ys - y) ** 2 <= RADIUS**2] = 1.0
    return discs
