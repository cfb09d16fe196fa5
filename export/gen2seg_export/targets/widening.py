"""Which parts of a network stay float where int8 loses too much: those that help most when they do."""

from collections.abc import Callable, Sequence
from typing import Any

from gen2seg_export.targets.child import Tell

PARTS = 8  # runs of neighbouring products; each costs one quantization to judge

Quantize = Callable[[Sequence[str]], Any]  # names of nodes to leave wide -> quantized network
Figures = dict[str, Any]


def widen_until_near(
    products: Sequence[str],
    quantize: Quantize,
    quality: Callable[[Any], float],
    compare: Callable[[Any], Figures],
    least_psnr: float,
    tell: Tell,
) -> tuple[Any, Figures]:
    """Leave the most sensitive parts of a network wide, one more at a time, until it is near enough.

    Args:
        products: names of the nodes that may be quantized, in the order of the network.
        quantize: quantizes the network but for these nodes.
        quality: PSNR of a quantized network, dB.
        compare: its figures, `psnr` among them.
    Returns:
        The last network tried, and its figures with `wide_products` (how many stay wide); at most half of the parts are
        left wide, since more of them would leave nothing to gain.
    """
    size = -(-len(products) // PARTS)
    parts = [list(products[start : start + size]) for start in range(0, len(products), size)]
    found: dict[int, float] = {}
    for number, part in enumerate(parts):
        tell(f"too far from float32: with part {number + 1} of {len(parts)} wide")
        found[number] = quality(quantize(part))
    wide: list[str] = []
    quantized, figures = None, {}
    for number in sorted(found, key=lambda part: found[part], reverse=True)[: max(1, len(parts) // 2)]:
        wide += parts[number]
        tell(f"{len(wide)} of {len(products)} products left wide")
        quantized = quantize(wide)
        figures = {**compare(quantized), "wide_products": len(wide)}
        if figures["psnr"] >= least_psnr:
            break
    return quantized, figures
