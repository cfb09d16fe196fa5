"""ViTMAE with every patch visible: encoder, decoder and un-patchify without mask, shuffle or restore."""

from collections.abc import Mapping

from torch import Tensor, nn

from gen2seg.backbones.mae import MaeNet
from gen2seg_export.errors import ExportError
from gen2seg_export.specialize.transformer import (
    ACTIVATIONS,
    Block,
    PatchPixels,
    PatchTokens,
    bare_norm,
    fold_norm,
    linear,
    parameter,
)

_LAYER = {
    "norm1": "layernorm_before",
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "project": "attention.output.dense",
    "norm2": "layernorm_after",
    "expand": "intermediate.dense",
    "contract": "output.dense",
}


class SpecializedMae(nn.Module):
    """Picture (N, 3, S, S) to raw colours (N, 3, S, S), equal to `MaeNet` up to float32 rounding.

    With every patch kept in its place, mask tokens, mask, shuffle and restore do nothing and are gone. The
    encoder's last norm folds into the decoder's embedding, the decoder's last norm into the prediction.

    Raises:
        ExportError: an activation that has no exporter.
    """

    def __init__(self, net: MaeNet) -> None:
        super().__init__()
        config, tensors = net.config, net.hub_tensors()
        if config.hidden_act not in ACTIVATIONS:
            raise ExportError(f"hidden_act must be one of {', '.join(sorted(ACTIVATIONS))}, got {config.hidden_act!r}")
        self.eps = eps = config.layer_norm_eps
        activation = ACTIVATIONS[config.hidden_act]
        self.tokens = PatchTokens(
            tensors["vit.embeddings.patch_embeddings.projection.weight"],
            tensors["vit.embeddings.patch_embeddings.projection.bias"],
            tensors["vit.embeddings.cls_token"][0, 0],
            tensors["vit.embeddings.position_embeddings"][0],
        )
        self.encoder = nn.Sequential(
            *(
                Block(_layer(tensors, f"vit.encoder.layer.{i}"), config.num_attention_heads, eps, activation)
                for i in range(config.num_hidden_layers)
            )
        )
        embed, bias = fold_norm(
            tensors["vit.layernorm.weight"],
            tensors["vit.layernorm.bias"],
            tensors["decoder.decoder_embed.weight"],
            tensors["decoder.decoder_embed.bias"],
        )
        self.embed = linear(embed, None)
        self.table = parameter(tensors["decoder.decoder_pos_embed"][0].double() + bias)
        self.decoder = nn.Sequential(
            *(
                Block(
                    _layer(tensors, f"decoder.decoder_layers.{i}"), config.decoder_num_attention_heads, eps, activation
                )
                for i in range(config.decoder_num_hidden_layers)
            )
        )
        predict, bias = fold_norm(
            tensors["decoder.decoder_norm.weight"],
            tensors["decoder.decoder_norm.bias"],
            tensors["decoder.decoder_pred.weight"],
            tensors["decoder.decoder_pred.bias"],
        )
        patch, channels = config.patch_size, config.num_channels
        # The library's outputs run (row, column, channel) within a patch.
        predict = predict.unflatten(0, (patch, patch, channels)).permute(2, 0, 1, 3).flatten(0, 2)
        bias = bias.unflatten(0, (patch, patch, channels)).permute(2, 0, 1).flatten()
        self.pixels = PatchPixels(predict, bias, (config.grid, config.grid), patch, eps)

    def forward(self, image: Tensor) -> Tensor:
        tokens = bare_norm(self.encoder(self.tokens(image)), self.eps)
        tokens = self.decoder(self.embed(tokens) + self.table)
        return self.pixels(tokens[:, 1:])


def _layer(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        f"{ours}.{kind}": tensors[f"{prefix}.{theirs}.{kind}"]
        for ours, theirs in _LAYER.items()
        for kind in ("weight", "bias")
        if f"{prefix}.{theirs}.{kind}" in tensors
    }
