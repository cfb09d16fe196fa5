"""Small networks for the tests of precision and targets, written as ONNX files."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn


class Toy(nn.Module):
    """Convolutions, group norm, SiLU, attention over the pixels, a resize: the parts of the real networks."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.middle = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.layer_norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.project = nn.Linear(16, 16)
        self.wide = nn.Conv2d(16, 64, 3, padding=1)
        self.narrow = nn.Conv2d(64, 16, 1)
        self.leave = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(nn.functional.silu(self.norm(self.enter(x))))
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.layer_norm(tokens)).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) * 0.25, dim=-1)
        tokens = tokens + self.project(weights @ v)
        x = x + tokens.transpose(1, 2).reshape(x.shape)
        x = x + self.narrow(nn.functional.silu(self.wide(x)))
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return 255 * torch.sigmoid(self.leave(x))


class Loud(nn.Module):
    """Reaches about 10^6 in the middle, beyond float16, and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.before = nn.Conv2d(8, 8, 3, padding=1)
        self.after = nn.Conv2d(8, 8, 3, padding=1)
        self.leave = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(self.enter(x))
        x = (x * 3e3 * 3e3).abs() * 1e-7
        return self.leave(self.after(x))


class Cancelling(nn.Module):
    """Adds a large constant and takes it away again: nothing overflows, float16 loses nearly all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.leave = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        x = self.middle(torch.relu(x + 2048) - 2048)
        return self.leave(x)


def write_onnx(module: nn.Module, path: Path, size: int = 16, external: bool = False) -> Path:
    """The module with seeded weights as an ONNX file for inputs (1, 3, size, size)."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(1, 3, size, size),),
            dynamo=True,
            opset_version=18,
            input_names=["image"],
            output_names=["colors"],
            verbose=False,
        )
    assert program is not None
    onnx.save(
        program.model_proto,
        path,
        save_as_external_data=external,
        location=f"{path.name}.data",
        size_threshold=256,
    )
    return path


def inputs(count: int, size: int = 16, seed: int = 0) -> list[np.ndarray]:
    """Pictures as a network takes them, (1, 3, size, size) float32 in [-1, 1]."""
    generator = np.random.default_rng(seed)
    return [generator.uniform(-1, 1, (1, 3, size, size)).astype(np.float32) for _ in range(count)]


def run_onnx(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": x})[0])
