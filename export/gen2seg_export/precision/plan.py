"""Which nodes of a graph stay in float32, and why: decided on what the calibration inputs showed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx import NodeProto

from gen2seg_export.precision.formats import Format
from gen2seg_export.precision.graph import LAYOUT, PRODUCTS, Graph, ends
from gen2seg_export.precision.ranges import NodeRange

# Always wide: they sum over many values, or cut small differences out of large ones.
NORMS = frozenset(
    {
        *("InstanceNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"),
        *("BatchNormalization", "LpNormalization", "MeanVarianceNormalization"),
    }
)
SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceProd", "CumSum"})
# Their result has no narrow form in ONNX, or is made from integers.
UNCONVERTIBLE = frozenset({"Cast", "CastLike", "Range", "ConstantOfShape", "NonMaxSuppression", "TopK", "OneHot"})

# A picture unlike the calibration may reach this many times what was seen.
HEADROOM = 4.0
# A node on rounded inputs is off by about one roundoff; this many mean cancellation or underflow.
ROUNDOFFS = 16.0


@dataclass(frozen=True)
class WideNode:
    """One node that computes in float32.

    `reason`: "norm", "softmax", "reduction", "format" (no narrow form), "logits" (between a product and its
    softmax), "end" (first and last layers), "range" (values near or beyond the largest number), "accuracy"
    (it, or the node that takes its output, loses more than `ROUNDOFFS` roundoffs), "border" (moves values
    between wide nodes only).
    """

    name: str
    op: str
    reason: str


@dataclass(frozen=True)
class PrecisionPlan:
    """What stays wide in one graph.

    Attributes:
        format: the narrow format of all other nodes.
        wide: by node name, in graph order.
        ranges: what was measured, by node name.
    """

    format: Format
    wide: Mapping[str, WideNode]
    ranges: Mapping[str, NodeRange] = field(default_factory=dict)

    def names(self, *reasons: str) -> tuple[str, ...]:
        """Names of the wide nodes, all or those with one of these reasons."""
        return tuple(node.name for node in self.wide.values() if not reasons or node.reason in reasons)

    def to_json(self) -> dict[str, Any]:
        """Counts by reason, the nodes that measurement kept wide with their figures, and the extremes."""
        counts: dict[str, int] = {}
        for node in self.wide.values():
            counts[node.reason] = counts.get(node.reason, 0) + 1
        narrow = {name: seen for name, seen in self.ranges.items() if name not in self.wide}
        return {
            "format": self.format.name,
            "nodes": len(self.ranges),
            "wide": dict(sorted(counts.items())),
            "measured": [
                {
                    "node": name,
                    "op": self.wide[name].op,
                    "reason": self.wide[name].reason,
                    **_figures(self.ranges[name]),
                }
                for name in self.names("range", "accuracy")
            ],
            "largest_narrow_value": max(
                (max(seen.largest_input, seen.largest_output) for seen in narrow.values()), default=0.0
            ),
            "largest_narrow_error": max((seen.error for seen in narrow.values()), default=0.0),
        }


def make_plan(graph: Graph, ranges: Mapping[str, NodeRange], narrow: Format) -> PrecisionPlan:
    """Decide for each node whether it may compute in the narrow format."""
    wide: dict[str, str] = {}
    edge = ends(graph)
    for node in graph.nodes:
        reason = _reason(node, ranges.get(node.name), narrow, node.name in edge)
        if reason is not None:
            wide[node.name] = reason
    for node in graph.nodes:
        if node.op_type in SOFTMAX:
            wide.update({name: "logits" for name in _logits(graph, node) if name not in wide})
        # What spoils this node's output is the rounding of its inputs: they must be made wide, too.
        if _loses(node, ranges.get(node.name), narrow):
            wide.update({name: "accuracy" for name in _makers(graph, node) if name not in wide})
    _fill_borders(graph, wide)
    chosen = {n.name: WideNode(n.name, n.op_type, wide[n.name]) for n in graph.nodes if n.name in wide}
    return PrecisionPlan(narrow, chosen, ranges)


def _reason(node: NodeProto, seen: NodeRange | None, narrow: Format, at_end: bool) -> str | None:
    for reason, ops in (("norm", NORMS), ("softmax", SOFTMAX), ("reduction", REDUCTIONS), ("format", UNCONVERTIBLE)):
        if node.op_type in ops:
            return reason
    if at_end:
        return "end"
    if seen is None:
        return None
    if max(seen.largest_input, seen.largest_output) * HEADROOM > narrow.largest:
        return "range"
    return "accuracy" if _loses(node, seen, narrow) else None


def _loses(node: NodeProto, seen: NodeRange | None, narrow: Format) -> bool:
    # Moving a value rounds it once; layout is judged by what computes on it.
    return seen is not None and node.op_type not in LAYOUT and seen.error > ROUNDOFFS * narrow.roundoff


def _makers(graph: Graph, node: NodeProto) -> list[str]:
    """The nodes that made what this one takes, those that only moved it included."""
    found, waiting = [], graph.float_inputs(node)
    while waiting:
        maker = graph.makers.get(waiting.pop())
        if maker is not None and maker.name not in found:
            found.append(maker.name)
            if maker.op_type in LAYOUT:
                waiting += graph.float_inputs(maker)
    return found


def _logits(graph: Graph, softmax: NodeProto) -> list[str]:
    """The nodes that scale, mask or move a softmax's input, back to the product that made it."""
    found, waiting = [], graph.float_inputs(softmax)
    while waiting:
        node = graph.makers.get(waiting.pop())
        if node is not None and node.op_type not in PRODUCTS and node.name not in found:
            found.append(node.name)
            waiting += graph.float_inputs(node)
    return found


def _fill_borders(graph: Graph, wide: dict[str, str]) -> None:
    """Keep a layout node wide where all around it is: casting before and back after it would be for nothing."""
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            if node.op_type not in LAYOUT or node.name in wide:
                continue
            makers = [graph.makers.get(name) for name in graph.float_inputs(node)]
            takers = [taker for name in graph.float_outputs(node) for taker in graph.takers.get(name, [])]
            around = [*makers, *takers]
            if makers and takers and all(other is not None and other.name in wide for other in around):
                wide[node.name] = "border"
                changed = True


def _figures(seen: NodeRange) -> dict[str, float | None]:
    figures = {"input": seen.largest_input, "output": seen.largest_output, "error": seen.error}
    return {key: float(f"{value:.4g}") if value < float("inf") else None for key, value in figures.items()}
