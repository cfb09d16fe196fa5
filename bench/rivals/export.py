"""The backbones as others run them: the libraries' own modules in PyTorch, or written to ONNX as they are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gen2seg.backbones.dino import random_dino
from gen2seg.backbones.mae import mae_config, random_mae
from gen2seg.backbones.sd2 import SD2, Sd2Net, one_step, random_sd2

Run = Callable[[Tensor], Tensor]  # (1, 3, H, W) as the network takes it -> raw colours


def library_net(backbone: str, architecture: Mapping[str, Any] | None, vae: str | None) -> nn.Module:
    """The network with the seeded random weights that `gen2seg-export --random-weights` takes as well."""
    if backbone == "sd2":
        return Sd2Net(random_sd2(SD2.updated(architecture or {}), vae=vae or "full")).eval()
    if backbone == "dino-b":
        return random_dino(architecture).net
    return random_mae(mae_config(backbone, architecture)).net


def torch_way(net: nn.Module, narrow: bool = False, compiled: bool = False) -> Run:
    """Eager float32, or bfloat16 with channels last, or what torch.compile makes of either."""
    if narrow:
        net = net.to(torch.bfloat16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward: Any = torch.compile(net) if compiled else net

    def run(x: Tensor) -> Tensor:
        if narrow:
            x = x.to(torch.bfloat16, memory_format=torch.channels_last)
        return forward(x).float()

    return run


class _Encode(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, sample: Tensor) -> Tensor:
        coded = self.vae.encode(sample)
        return coded.latent_dist.mode() if hasattr(coded, "latent_dist") else coded.latents


class _Unet(nn.Module):
    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        return self.unet(sample, timestep, encoder_hidden_states=text).sample


class _Decode(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent).sample


def plain_onnx(net: nn.Module, x: Tensor, folder: Path) -> Run:
    """Each library module traced as it is and run by ONNX Runtime: timestep and text are inputs of the U-Net."""
    if not isinstance(net, Sd2Net):
        session = _session(_write(net, (x,), folder / "model.onnx"))
        return lambda picture: torch.from_numpy(_run(session, picture.numpy()))
    text, step = net.text.numpy(), one_step(net.scheduler)
    latent = torch.zeros(1, int(net.unet.config["in_channels"]), x.shape[2] // 8, x.shape[3] // 8)
    timestep = torch.tensor([net.timestep])
    written = (
        _write(_Encode(net.vae), (x,), folder / "encoder.onnx"),
        _write(_Unet(net.unet), (latent, timestep, net.text), folder / "unet.onnx"),
        _write(_Decode(net.vae), (latent,), folder / "decoder.onnx"),
    )
    encoder, unet, decoder = (_session(path) for path in written)

    def run(picture: Tensor) -> Tensor:
        sample = (_run(encoder, picture.numpy()) - net.shift) * net.factor
        output = _run(unet, sample, timestep.numpy(), text)
        colours = step.sample_factor * sample + step.output_factor * output
        colours = colours if step.clip is None else np.clip(colours, -step.clip, step.clip)
        return torch.from_numpy(_run(decoder, (colours / net.factor + net.shift).astype(np.float32)))

    return run


def _write(module: nn.Module, example: tuple[Tensor, ...], path: Path) -> Path:
    with torch.no_grad():
        torch.onnx.export(module.eval(), example, path, dynamo=True, external_data=True, verbose=False)
    return path


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, *arrays: np.ndarray) -> np.ndarray:
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))[0].astype(np.float32)
