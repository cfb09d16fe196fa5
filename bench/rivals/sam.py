"""SAM ViT-B and MobileSAM as people run them in ONNX Runtime: an image encoder once, a mask decoder for each click.

Random weights: only the time and the memory mean anything. SAM is transformers' `SamModel` in its default
configuration, which is ViT-B (93.7 M parameters). MobileSAM has the same decoder and, in place of the ViT, timm's
TinyViT-5M changed as MobileSAM changes it (1024 x 1024 in, no step down before the last stage, SAM's neck behind it).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

SIDE = 1024
NAMES = ("sam-vit-b", "mobile-sam")
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_STD = np.array([58.395, 57.12, 57.375], np.float32)


class _Encoder(nn.Module):
    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, pixels: Tensor) -> Tensor:
        return self.vision(pixels).last_hidden_state


class _TinyEncoder(nn.Module):
    """TinyViT-5M without its classifier, and SAM's neck: (1, 3, 1024, 1024) -> (1, 256, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        import timm
        from timm.layers.norm import LayerNorm2d

        body = timm.create_model("tiny_vit_5m_224", pretrained=False, num_classes=0)
        last: Any = body.get_submodule("stages.3.downsample.conv2.conv")
        last.stride = (1, 1)
        self.stem, self.stages = body.get_submodule("patch_embed"), body.get_submodule("stages")
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.neck(self.stages(self.stem(pixels)))


class _Decoder(nn.Module):
    """Prompt encoder and mask decoder with all that does not depend on the click made constant."""

    def __init__(self, sam: Any) -> None:
        super().__init__()
        self.prompt, self.decoder = sam.prompt_encoder, sam.mask_decoder
        self.places: Tensor
        self.register_buffer("places", sam.get_image_wide_positional_embeddings().detach(), persistent=False)

    def forward(self, features: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sparse, dense = self.prompt(points, labels, None, None)
        return self.decoder(features, self.places, sparse, dense, multimask_output=True)


def export(name: str, folder: Path) -> None:
    """Write `encoder.onnx` and `decoder.onnx` of one of `NAMES` into `folder`; takes minutes and about 3 GB."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    sam: Any = SamModel(SamConfig()).eval()
    encoder = _Encoder(sam.vision_encoder) if name == "sam-vit-b" else _TinyEncoder()
    click = torch.zeros(1, 256, 64, 64), torch.full((1, 1, 1, 2), 512.0), torch.ones(1, 1, 1, dtype=torch.int64)
    _write(_Decoder(sam), click, folder / "decoder.onnx")
    _write(encoder, (torch.zeros(1, 3, SIDE, SIDE),), folder / "encoder.onnx")


def is_exported(folder: Path) -> bool:
    """Whether `export` came to its end there: the encoder is written last."""
    return (folder / "encoder.onnx").is_file()


@dataclass(frozen=True)
class Embedding:
    """What a click needs: (1, 256, 64, 64) float32, the factor from the picture to 1024, the picture's (H, W)."""

    features: np.ndarray
    factor: float
    size: tuple[int, int]


class SamSessions:
    """Encoder and decoder in ONNX Runtime."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.encoder, self.decoder = (_session(folder / f"{part}.onnx", threads) for part in ("encoder", "decoder"))

    def encode(self, rgb: np.ndarray) -> Embedding:
        """(H, W, 3) uint8: longer side to 1024, ImageNet statistics, zeros to the right and below, the encoder."""
        height, width = rgb.shape[:2]
        factor = SIDE / max(height, width)
        small = cv2.resize(rgb, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_LINEAR)
        pixels = np.zeros((1, 3, SIDE, SIDE), np.float32)
        pixels[0, :, : small.shape[0], : small.shape[1]] = ((small - _MEAN) / _STD).transpose(2, 0, 1)
        return Embedding(_run(self.encoder, pixels)[0], factor, (height, width))

    def click(self, embedding: Embedding, x: float, y: float) -> np.ndarray:
        """bool (H, W): the best of three masks at the size of the picture."""
        points = np.array([[[[x, y]]]], np.float32) * np.float32(embedding.factor)
        logits, scores = _run(self.decoder, embedding.features, points, np.ones((1, 1, 1), np.int64))
        best = logits[0, 0, int(scores[0, 0].argmax())]
        height, width = embedding.size
        whole = cv2.resize(best, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        part = whole[: round(height * embedding.factor), : round(width * embedding.factor)]
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) > 0


def _write(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with torch.no_grad():
        torch.onnx.export(module.eval(), example, part, dynamo=True, external_data=False, verbose=False)
    part.rename(path)


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, *arrays: np.ndarray) -> Any:
    return session.run(None, dict(zip([item.name for item in session.get_inputs()], arrays, strict=True)))
