"""The negative control: a bundle with one wrong weight must not pass the gate that the right one passed."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from gen2seg_export.bundle_writer import write_manifest, write_model
from gen2seg_export.onnx_graph import large_weights, perturb_weight
from gen2seg_export.parity import verify_bundle
from gen2seg_export.samples import Sample
from gen2seg_runtime.manifest import Manifest

# In standard deviations of the tensor's own values. Large for a weight, small for a gate: a transposed or
# misplaced tensor, the mistake exporters make, is off by about 1.4.
STRENGTH = 0.5


@dataclass(frozen=True)
class ControlReport:
    """Which weights were perturbed one at a time, and which of these faults the gate did not see."""

    perturbed: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return bool(self.perturbed) and not self.unseen

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "what": f"one weight tensor perturbed by {STRENGTH} of its standard deviation must fail the gate",
            "perturbed": list(self.perturbed),
            "unseen": list(self.unseen),
        }


def negative_control(
    model: onnx.ModelProto,
    manifest: Manifest,
    module: nn.Module,
    samples: Sequence[Sample],
    threads: int | None = None,
) -> ControlReport:
    """Perturb the first and the last large weight of the graph, each in a bundle of its own.

    Not one in between: a network may make so little use of a deep layer that noise on it changes less than
    the order of sums does, and that is no fault of the gate.

    Args:
        model: the graph as it goes into the bundle.
        manifest: its manifest, without files and goldens.
        module: the network the bundle is judged against.
        samples: a few small pictures.
    """
    names = large_weights(model)
    chosen = tuple(dict.fromkeys((names[0], names[-1]))) if names else ()
    unseen = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="gen2seg-control-") as folder:
            root = Path(folder)
            write_model(root, perturb_weight(model, name, STRENGTH))
            write_manifest(root, replace(manifest, goldens=()), [])
            if verify_bundle(root, module, samples, probes=False, threads=threads).passed:
                unseen.append(name)
    return ControlReport(chosen, tuple(unseen))
