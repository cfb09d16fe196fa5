"""Systems by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gen2seg.evaluation.errors import EvaluationError

from .bundles import BundleSystem
from .interface import System, SystemSpec
from .rivals import (
    FelzenszwalbSystem,
    FloodFillSystem,
    GrabCutSystem,
    MeanShiftSystem,
    RgbSystem,
    SobelSystem,
    WatershedSystem,
)
from .weights import SAM_HUB, absent, find_sam, is_sam, is_simpleclick

# Bundles by name; None is the one that the package ships.
BUNDLES: dict[str, Path | None] = {"tiny": None}
# After a bundle's name: its colours prompted in mode "reference", whatever mode the bundle is for.
REFERENCE_SUFFIX = "-reference"
# Known by name, once their weights are there.
WEIGHTED = (*SAM_HUB, "simpleclick")
RIVALS: dict[str, Callable[[], System]] = {
    "rgb": RgbSystem,
    "floodfill": FloodFillSystem,
    "felzenszwalb": FelzenszwalbSystem,
    "watershed": WatershedSystem,
    "meanshift": MeanShiftSystem,
    "grabcut": GrabCutSystem,
    "sobel": SobelSystem,
}


def get_system(name: str, bundles: Mapping[str, Path] | None = None, *, sweep: bool = False) -> SystemSpec:
    """Look a system up: a name in `bundles`, BUNDLES, RIVALS or WEIGHTED, a bundle's name with REFERENCE_SUFFIX, or
    the path of a folder of weights: a bundle, a training checkpoint, SAM.

    Args:
        name: what to look up; a path's last part becomes the name in the report.
        bundles: more names for folders of weights; they win over the known ones.
        sweep: bundles also try COLOR_DISTANCES, which shows what another default distance would give.

    Returns:
        How to open it; of a name in WEIGHTED whose weights are not here, how they are had.
    Raises:
        EvaluationError: nothing has that name.
    """
    named = {**BUNDLES, **(bundles or {})}
    if name in named:
        return _open_folder(name, named[name], sweep) or _bundle(name, named[name], sweep=sweep)
    if name in RIVALS:
        return SystemSpec(name, RIVALS[name])
    if name in WEIGHTED:
        return _find_weights(name, sweep)
    bare = name.removesuffix(REFERENCE_SUFFIX)
    if bare != name and bare in named:
        return _bundle(name, named[bare], mode="reference")
    path = Path(name).resolve()
    found = _open_folder(path.name, path, sweep)
    if found is None:
        known = ", ".join([*named, *RIVALS, *WEIGHTED])
        raise EvaluationError(f"unknown system {name!r}; known: {known}, or the path of a bundle or checkpoint")
    return found


def get_systems(
    names: Sequence[str], bundles: Mapping[str, Path] | None = None, *, sweep: bool = False
) -> list[SystemSpec]:
    """`get_system` for several names; those of `bundles` that are not listed follow at the end.

    Raises:
        EvaluationError: a name is unknown, comes twice or ends in "-best", or there is none.
    """
    bundles = bundles or {}
    wanted = [*names, *(name for name in bundles if name not in names)]
    return check_names([get_system(name, bundles, sweep=sweep) for name in wanted])


def check_names(specs: list[SystemSpec]) -> list[SystemSpec]:
    """The same systems.

    Raises:
        EvaluationError: a name comes twice or ends in "-best", or there is none.
    """
    if not specs:
        raise EvaluationError(f"no system to evaluate; known: {', '.join([*BUNDLES, *RIVALS, *WEIGHTED])}")
    for index, spec in enumerate(specs):
        if spec.name.endswith("-best"):
            raise EvaluationError(f"{spec.name!r} ends in -best, the report's word; rename it: --bundle NAME=PATH")
        if spec.name in {other.name for other in specs[:index]}:
            raise EvaluationError(f"two systems are called {spec.name!r}; rename one: --bundle NAME=PATH")
    return specs


def _open_folder(name: str, path: Path | None, sweep: bool) -> SystemSpec | None:
    """What a folder of weights is opened by; None if it is no such folder."""
    if path is None:
        return _bundle(name, None, sweep=sweep)
    if is_sam(path):
        from .sam import SamSystem

        return SystemSpec(name, partial(SamSystem, path), learned=True)
    if is_simpleclick(path):
        from .simpleclick import SimpleClickSystem

        return SystemSpec(name, partial(SimpleClickSystem, path), learned=True)
    if (path / "model.safetensors").is_file():
        from gen2seg.evaluation.checkpoints import CheckpointSystem

        return SystemSpec(name, partial(CheckpointSystem, path, sweep=sweep), learned=True)
    return _bundle(name, path, sweep=sweep) if (path / "bundle.json").is_file() else None


def _bundle(name: str, path: Path | None, *, sweep: bool = False, mode: str | None = None) -> SystemSpec:
    return SystemSpec(name, partial(BundleSystem, path, sweep=sweep, mode=mode), learned=True)


def _find_weights(name: str, sweep: bool) -> SystemSpec:
    """A name in WEIGHTED."""
    if name == "simpleclick":
        return absent(name, "train it with `gen2seg train simpleclick`, then pass --bundle simpleclick=RUN/weights")
    folder = find_sam(name)
    if folder is None:
        how = f"fetch config.json and model.safetensors of {SAM_HUB[name]}, then pass --bundle {name}=FOLDER"
        return absent(name, how)
    found = _open_folder(name, folder, sweep)
    assert found is not None
    return found
