"""Attention of the U-Net and of the VAE, with everything folded that is constant in one step."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen2seg_export.errors import ExportError

from .layers import bias_of, frozen, group_norm, linear


class SelfAttention(nn.Module):
    """Attention over all positions; one product gives queries (already scaled), keys and values.

    Input and output: (N, T, C).
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads = int(attention.heads)
        scale = (attention.to_q.out_features // self.heads) ** -0.5
        parts = (attention.to_q, attention.to_k, attention.to_v)
        weights = [layer.weight.detach() for layer in parts]
        weights[0] = weights[0].double() * scale
        has_bias = any(layer.bias is not None for layer in parts)
        biases = [bias_of(layer) for layer in parts]
        biases[0] = biases[0] * scale
        weight = torch.cat([weight.float() for weight in weights])
        self.qkv = linear(weight, torch.cat(biases) if has_bias else None)
        self.out = linear(attention.to_out[0].weight, attention.to_out[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2))


class TokenGate(nn.Module):
    """Cross-attention over two constant tokens: a softmax of two is a sigmoid, so each head is one gate.

    softmax(q·k0, q·k1)·(v0, v1) = v0 + sigmoid(q·(k1 - k0))·(v1 - v0): queries and key difference fold into C x heads
    numbers, value difference and output product into heads x C.
    """

    def __init__(self, attention: Any, text: Tensor) -> None:
        super().__init__()
        heads = int(attention.heads)
        keys, values = _constant_tokens(attention, text)
        # (heads, d): differences of the two tokens
        key, value = (tokens[:, 1] - tokens[:, 0] for tokens in (keys, values))
        scale = key.shape[1] ** -0.5
        queries = attention.to_q.weight.detach().double().unflatten(0, (heads, -1))  # (heads, d, C)
        out = attention.to_out[0].weight.detach().double().unflatten(1, (heads, -1))  # (C, heads, d)
        gate_bias = (bias_of(attention.to_q).unflatten(0, (heads, -1)) * key).sum(1) * scale
        self.gate = linear(torch.einsum("hdc,hd->hc", queries, key) * scale, gate_bias)
        constant = torch.einsum("chd,hd->c", out, values[:, 0]) + bias_of(attention.to_out[0])
        self.mix = linear(torch.einsum("chd,hd->ch", out, value), constant)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.sigmoid(self.gate(x)))


class ConstantAttention(nn.Module):
    """Cross-attention over any number of constant tokens: their keys and values are weights."""

    def __init__(self, attention: Any, text: Tensor) -> None:
        super().__init__()
        self.heads = int(attention.heads)
        keys, values = _constant_tokens(attention, text)
        scale = keys.shape[-1] ** -0.5
        self.query = linear(attention.to_q.weight, attention.to_q.bias)
        self.keys = frozen((keys * scale).transpose(1, 2).contiguous())  # (heads, d, T)
        self.values = frozen(values)  # (heads, T, d)
        self.out = linear(attention.to_out[0].weight, attention.to_out[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = torch.softmax(q @ self.keys, dim=-1) @ self.values
        return self.out(mixed.transpose(1, 2).flatten(2))


def _constant_tokens(attention: Any, text: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of the text (1, T, D), each (heads, T, d) in float64."""
    text = text[0].double()
    keys, values = (
        (text @ layer.weight.detach().double().T + bias_of(layer)).unflatten(-1, (int(attention.heads), -1))
        for layer in (attention.to_k, attention.to_v)
    )
    return keys.transpose(0, 1), values.transpose(0, 1)


class GatedFeedForward(nn.Module):
    """GEGLU and the product behind it (Shazeer, arXiv 2002.05202)."""

    def __init__(self, feed_forward: Any) -> None:
        super().__init__()
        first, out = feed_forward.net[0], feed_forward.net[2]
        if type(first).__name__ != "GEGLU":
            raise ExportError(f"only GEGLU feed-forward blocks can be specialised, got {type(first).__name__}")
        self.proj = linear(first.proj.weight, first.proj.bias)
        self.out = linear(out.weight, out.bias)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(value * F.gelu(gate))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the constant text, feed-forward; (N, T, C) to the same."""

    def __init__(self, block: Any, text: Tensor) -> None:
        super().__init__()
        if block.norm_type != "layer_norm" or block.pos_embed is not None or block.attn2 is None:
            raise ExportError(f"only plain transformer blocks can be specialised, got norm_type {block.norm_type!r}")
        self.norm1, self.norm2, self.norm3 = block.norm1, block.norm2, block.norm3
        self.attention = SelfAttention(block.attn1)
        self.text = TokenGate(block.attn2, text) if text.shape[1] == 2 else ConstantAttention(block.attn2, text)
        self.feed_forward = GatedFeedForward(block.ff)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        x = x + self.text(self.norm2(x))
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of (N, C, H, W); the norm's scale and shift are in the product behind it."""

    def __init__(self, transformer: Any, text: Tensor) -> None:
        super().__init__()
        norm = transformer.norm
        # A 1x1 convolution (older checkpoints) is the same product over tokens.
        into, out = (layer.weight.detach().flatten(1) for layer in (transformer.proj_in, transformer.proj_out))
        self.norm = group_norm(norm, affine=False)
        scaled = into.double() * norm.weight.detach().double()
        self.proj_in = linear(scaled, bias_of(transformer.proj_in) + into.double() @ norm.bias.detach().double())
        self.blocks = nn.ModuleList(TransformerBlock(block, text) for block in transformer.transformer_blocks)
        self.proj_out = linear(out, transformer.proj_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.blocks:
            y = block(y)
        return x + self.proj_out(y).transpose(1, 2).unflatten(2, (height, width))


class PixelAttention(nn.Module):
    """The VAE's attention: one head over all pixels of (N, C, H, W), two products instead of four.

    With n the normalised pixels, q·k = nᵀ(WqᵀWk)n' plus what a softmax over n' does not see; and as the softmax's
    weights sum to one, value and output products are one, Wo·Wv, behind the mixing.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        plain = attention.heads == 1 and attention.residual_connection and attention.rescale_output_factor == 1
        if not plain or attention.group_norm is None:
            raise ExportError(f"the VAE's attention must have one head and a residual, got {attention.heads} heads")
        q, k, v = (layer.weight.detach().double() for layer in (attention.to_q, attention.to_k, attention.to_v))
        out = attention.to_out[0]
        scale = q.shape[0] ** -0.5
        self.norm = group_norm(attention.group_norm)
        self.query = linear(k.T @ q * scale, k.T @ bias_of(attention.to_q) * scale)
        weight = out.weight.detach().double()
        self.out = linear(weight @ v, weight @ bias_of(attention.to_v) + bias_of(out))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pixels = self.norm(x).flatten(2).transpose(1, 2).unsqueeze(1)
        mixed = F.scaled_dot_product_attention(self.query(pixels), pixels, pixels, scale=1.0)
        return x + self.out(mixed.squeeze(1)).transpose(1, 2).unflatten(2, (height, width))
