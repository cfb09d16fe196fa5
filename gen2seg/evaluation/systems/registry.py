"""Systems by name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from gen2seg.evaluation.errors import EvaluationError

from .bundles import BundleSystem
from .interface import System, SystemSpec
from .rivals import FelzenszwalbSystem, FloodFillSystem, GrabCutSystem, RgbSystem, SobelSystem, WatershedSystem
from .sam import SAM_HUB, SamSystem, find_sam, is_sam, is_simpleclick, refuse

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
    "grabcut": GrabCutSystem,
    "sobel": SobelSystem,
}


def get_system(name: str, bundles: Mapping[str, Path] | None = None, *, sweep: bool = False) -> SystemSpec:
    """Look a system up: a name in `bundles`, BUNDLES or RIVALS, a bundle's name with REFERENCE_SUFFIX, or the
    path of a bundle or of a training checkpoint.

    Args:
        name: what to look up; a path's last part becomes the name in the report.
        bundles: more names for bundle directories; they win over the known ones.
        sweep: bundles also try COLOR_DISTANCES, which shows what another default distance would give.

    Raises:
        EvaluationError: nothing has that name.
    """
    named = {**BUNDLES, **(bundles or {})}
    if name in RIVALS and name not in named:
        return SystemSpec(name, RIVALS[name])
    if name == "simpleclick" and name not in named:
        missing = "train it with `gen2seg train simpleclick`, then pass --bundle simpleclick=RUN/weights"
        return SystemSpec(name, partial(refuse, name, missing), missing)
    if name in SAM_HUB and name not in named:
        return find_sam(name)
    bare = name.removesuffix(REFERENCE_SUFFIX)
    if name not in named and bare in named:
        return SystemSpec(name, partial(BundleSystem, named[bare], mode="reference"))
    path = named[name] if name in named else Path(name).resolve()
    title = name if path is None or name in named else path.name
    if path is not None and is_sam(path):
        return SystemSpec(title, partial(SamSystem, path))
    if path is not None and is_simpleclick(path):
        from .simpleclick import SimpleClickSystem

        return SystemSpec(title, partial(SimpleClickSystem, path))
    if path is not None and (path / "model.safetensors").is_file():
        from gen2seg.evaluation.checkpoints import CheckpointSystem

        return SystemSpec(title, partial(CheckpointSystem, path, sweep=sweep))
    if name in named or (path is not None and (path / "bundle.json").is_file()):
        return SystemSpec(title, partial(BundleSystem, path, sweep=sweep))
    known = ", ".join([*named, *RIVALS, *WEIGHTED])
    raise EvaluationError(f"unknown system {name!r}; known: {known}, or the path of a bundle or checkpoint")


def get_systems(
    names: Sequence[str], bundles: Mapping[str, Path] | None = None, *, sweep: bool = False
) -> list[SystemSpec]:
    """`get_system` for several names; those of `bundles` that are not listed follow at the end.

    Raises:
        EvaluationError: a name is unknown, comes twice or ends in "-best", or there is none.
    """
    bundles = bundles or {}
    wanted = [*names, *(name for name in bundles if name not in names)]
    specs = [get_system(name, bundles, sweep=sweep) for name in wanted]
    if not specs:
        raise EvaluationError(f"no system to evaluate; known: {', '.join([*BUNDLES, *RIVALS, *WEIGHTED])}")
    for index, spec in enumerate(specs):
        if spec.name.endswith("-best"):
            raise EvaluationError(f"{spec.name!r} ends in -best, the report's word; rename it: --bundle NAME=PATH")
        if spec.name in {other.name for other in specs[:index]}:
            raise EvaluationError(f"two systems are called {spec.name!r}; rename one: --bundle NAME=PATH")
    return specs
