"""DINO's ViT and the up-convolution behind it: a picture to the latent that the VAE's decoder takes."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from gen2seg.backbones.dino import UP, DinoNet
from gen2seg_export.specialize.transformer import Block, PatchPixels, PatchTokens, fold_norm

_LAYER = {
    "norm1": "norm1",
    "project": "attn.proj",
    "norm2": "norm2",
    "expand": "mlp.fc1",
    "contract": "mlp.fc2",
}


class SpecializedDino(nn.Module):
    """Picture (N, 3, S, S) to the scaled latent (N, latents, 2 grid, 2 grid), equal to `DinoNet.latent`.

    An up-convolution whose kernel is its stride is one linear layer per patch; the ViT's last norm folds into it.
    """

    def __init__(self, net: DinoNet) -> None:
        super().__init__()
        config, tensors = net.config, net.backbone.state_dict()
        eps = float(net.backbone.norm.eps)  # type: ignore[arg-type]
        self.tokens = PatchTokens(
            tensors["patch_embed.proj.weight"],
            tensors["patch_embed.proj.bias"],
            tensors["cls_token"][0, 0],
            tensors["pos_embed"][0],
        )
        self.blocks = nn.Sequential(
            *(Block(_layer(tensors, f"blocks.{i}"), config.num_heads, eps, F.gelu) for i in range(config.depth))
        )
        latents = net.up.out_channels
        # (width, latents, 2, 2) -> rows ordered (latent, row, column)
        weight = net.up.weight.detach().flatten(1).T
        assert net.up.bias is not None
        bias = net.up.bias.detach().repeat_interleave(UP * UP)
        weight, bias = fold_norm(tensors["norm.weight"], tensors["norm.bias"], weight, bias)
        assert len(weight) == latents * UP * UP
        self.pixels = PatchPixels(weight, bias, (config.grid, config.grid), UP, eps)

    def forward(self, image: Tensor) -> Tensor:
        return self.pixels(self.blocks(self.tokens(image))[:, 1:])


def _layer(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    layer = {
        f"{ours}.{kind}": tensors[f"{prefix}.{theirs}.{kind}"]
        for ours, theirs in _LAYER.items()
        for kind in ("weight", "bias")
    }
    for kind in ("weight", "bias"):
        parts = tensors[f"{prefix}.attn.qkv.{kind}"].chunk(3)
        layer.update({f"{name}.{kind}": part for name, part in zip(("query", "key", "value"), parts, strict=True)})
    return layer
