"""Parts of a vision transformer, specialised for one picture size: what is constant is folded, exactly.

All folds are linear algebra, done in float64 and rounded once to float32:

- LayerNorm's scale and shift go into the linear layer behind it: W(g n + b) + c = (W g) n + (W b + c).
- The attention scale goes into the query's weights.
- The key's bias disappears: it adds the same number to a whole row of logits, which softmax does not see.
- The value's bias goes through the attention, whose rows sum to one, into the projection's bias.
- Class token, patch bias and position embeddings are one constant table.
- Rows of the last linear layer are ordered so that pixels leave it in runs along the picture's rows.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import frozen, linear

Activation = Callable[[Tensor], Tensor]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# Activations by the names that transformers gives them.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
}


def fold_norm(scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of the linear layer that takes the bare normalised tokens.

    Args:
        scale, shift: (in,) of the LayerNorm before it.
        weight, bias: (out, in) and (out,) of the layer itself.
    """
    wide = weight.double()
    folded = wide @ shift.double()
    return wide * scale.double(), folded if bias is None else folded + bias.double()


def bare_norm(tokens: Tensor, eps: float) -> Tensor:
    """LayerNorm over the last dimension without scale and shift."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=eps)


class PatchTokens(nn.Module):
    """Picture to tokens: (N, C, S, S) -> (N, 1 + patches, width); token 0 is the class token, a constant."""

    def __init__(self, patch_weight: Tensor, patch_bias: Tensor | None, first: Tensor, positions: Tensor) -> None:
        """Args: (width, C, p, p), (width,), the class token (width,), positions (1 + patches, width)."""
        super().__init__()
        table = positions.double().clone()
        table[0] += first.double()
        if patch_bias is not None:
            table[1:] += patch_bias.double()
        width, channels, patch, _ = patch_weight.shape
        self.project = nn.Conv2d(channels, width, patch, patch, bias=False, device="meta")
        self.project.weight = frozen(patch_weight)
        self.table = frozen(table)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.project(image).flatten(2).transpose(1, 2)
        # A row of zeros in front, then one addition: no copy of the class token per picture.
        return F.pad(patches, (0, 0, 1, 0)) + self.table


class Block(nn.Module):
    """Pre-norm self-attention and MLP: (N, L, width) -> (N, L, width)."""

    def __init__(self, tensors: Mapping[str, Tensor], heads: int, eps: float, activation: Activation) -> None:
        """Fold one layer.

        Args:
            tensors: norm1, query, key, value, project, norm2, expand, contract, each with `.weight` and `.bias`;
                query, key and value may lack a bias.
            heads: that share the query's outputs.
            eps: of both norms.
        """
        super().__init__()
        self.heads, self.eps, self.activation = heads, eps, activation
        norm1 = tensors["norm1.weight"], tensors["norm1.bias"]
        query, query_bias = fold_norm(*norm1, tensors["query.weight"], tensors.get("query.bias"))
        key, _ = fold_norm(*norm1, tensors["key.weight"], None)
        value, value_bias = fold_norm(*norm1, tensors["value.weight"], tensors.get("value.bias"))
        scale = (len(query) // heads) ** -0.5
        none = torch.zeros_like(query_bias)
        self.qkv = linear(torch.cat([query * scale, key, value]), torch.cat([query_bias * scale, none, none]))
        project = tensors["project.weight"].double()
        self.project = linear(project, tensors["project.bias"].double() + project @ value_bias)
        norm2 = tensors["norm2.weight"], tensors["norm2.bias"]
        self.expand = linear(*fold_norm(*norm2, tensors["expand.weight"], tensors["expand.bias"]))
        self.contract = linear(tensors["contract.weight"], tensors["contract.bias"])

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.project(self._attend(self.qkv(bare_norm(tokens, self.eps))))
        return tokens + self.contract(self.activation(self.expand(bare_norm(tokens, self.eps))))

    def _attend(self, qkv: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in qkv.chunk(3, dim=-1))
        # Written out: the operator of torch scales both sides again on its way to ONNX.
        weights = torch.softmax(q.transpose(1, 2) @ k.permute(0, 2, 3, 1), dim=-1)
        return (weights @ v.transpose(1, 2)).transpose(1, 2).flatten(2)


class PatchPixels(nn.Module):
    """Norm, linear layer and un-patchify: (N, patches, width) -> (N, C, rows p, columns p)."""

    def __init__(self, weight: Tensor, bias: Tensor, grid: tuple[int, int], patch: int, eps: float) -> None:
        """Args: (C p p, width) and (C p p,) with the norm's affine folded, outputs ordered (C, p, p)."""
        super().__init__()
        self.grid, self.patch, self.eps = grid, patch, eps
        self.predict = linear(weight, bias)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, columns = self.grid
        pixels = self.predict(bare_norm(tokens, self.eps))
        pixels = pixels.reshape(-1, rows, columns, pixels.shape[-1] // self.patch**2, self.patch, self.patch)
        return pixels.permute(0, 3, 1, 4, 2, 5).reshape(-1, pixels.shape[3], rows * self.patch, columns * self.patch)
