"""The tables and figures of gen2seg (arXiv 2505.15263) as evaluations: which protocol, sets and rows each has.

The paper's own numbers are not in here: a row is what is measured, on the weights that are there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen2seg.backbones import get_backbone
from gen2seg.config import shipped_configs
from gen2seg.evaluation.datasets import find_sets
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import NETWORKS, SystemSpec, absent, check_names, get_system, kind_of

# A row whose name or weights are not there is listed as not run.
_NETWORKS = (*NETWORKS, "tiny")
_RIVALS = ("sam-h", "sam-l", "sam-b", "simpleclick")
_UNSEEN = ("coco_exc", "coco", "dram", "egohos", "ishape", "pidray")


@dataclass(frozen=True)
class Preset:
    """One table or figure.

    Attributes:
        title: what it shows.
        systems: its rows: names of systems, or of configurations that are trained for them.
        kinds: of sets, as `find_sets` names them; where the data folder has none of these all sets are taken.
        clicks, distort, masks, automatic: as for EvaluationConfig and `with_distortions`.
    """

    title: str
    systems: tuple[str, ...]
    kinds: tuple[str, ...] = _UNSEEN
    clicks: int = 1
    distort: tuple[str, ...] = ()
    masks: bool = True
    automatic: bool = False


def _variants(names: Sequence[str], of: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{base}-{name}" for base in of for name in names)


PRESETS = {
    "1": Preset("one click, objects and styles unseen in training", (*_NETWORKS, *_RIVALS)),
    "2": Preset(
        "one click, networks trained on other data",
        _variants(("coco", "clevrtex", "5class", "10class"), NETWORKS),
    ),
    "3": Preset("edges", (*_NETWORKS, *_RIVALS, "sobel"), ("bsds500",), masks=False),
    "4": Preset(
        "one click, terms of the loss left out",
        ("sd2", *_variants(("no-intra", "no-inter", "no-mean-level", "squared", "no-normalize"), ("sd2",))),
    ),
    "5": Preset("one click, timestep of the one step", ("sd2", *_variants(("t499", "t1"), ("sd2",)))),
    "6": Preset("one click on distorted pictures", (*_NETWORKS, *_RIVALS), distort=("all",)),
    "7": Preset(
        "one click, how much of the network is trained",
        ("sd2", "sd2-decoder", "sd2-probe", "mae-h", "mae-h-decoder", "mae-h-last4", "mae-h-probe"),
    ),
    "automatic": Preset(
        "masks without a click",
        (*_NETWORKS, *_RIVALS[:-1], "felzenszwalb", "watershed", "meanshift"),
        masks=False,
        automatic=True,
    ),
    "figure-6": Preset("one to nine clicks", (*_NETWORKS, *_RIVALS), clicks=9),
}


def choose_sets(preset: Preset, data: Path) -> tuple[str, ...] | None:
    """The data folder's sets that a preset is about; None: all of them.

    Raises:
        DataSetError: as `find_sets`.
    """
    chosen = tuple(name for name, kind in find_sets(data).items() if kind in preset.kinds)
    return chosen or None


def find_systems(
    names: Sequence[str], runs: Path, bundles: Mapping[str, Path] | None = None, **options: Any
) -> list[SystemSpec]:
    """The rows of a table, and then the other `bundles`; a row whose weights are not there says what it lacks.

    Args:
        names: of systems, or of configurations: their weights are expected in `runs`/NAME/weights (a checkpoint), or
            in `runs`/NAME (a bundle).
        runs: folder of the training runs.
        bundles, options: as for `get_systems`.

    Raises:
        EvaluationError: as `check_names`.
    """
    found = dict(bundles or {})
    for name in names:
        place = next((p for p in (runs / name / "weights", runs / name) if kind_of(p)), None)
        if place is not None:
            found.setdefault(name, place.resolve())
    wanted = [*names, *(name for name in found if name not in names)]
    return check_names([_find_row(name, runs, found, options) for name in wanted])


def _find_row(name: str, runs: Path, found: Mapping[str, Path], options: dict[str, Any]) -> SystemSpec:
    try:
        spec = get_system(name, found, **options)
    except EvaluationError:
        spec = absent(name, f"not known here, and no weights in {runs / name}")
    if spec.missing and name in shipped_configs():
        how = f"no weights in {runs / name / 'weights'}: gen2seg train {name} --set output={runs / name}"
        published = name in NETWORKS and get_backbone(name).weights
        return absent(name, f"{how}; or {spec.missing}" if published else how)
    return spec
