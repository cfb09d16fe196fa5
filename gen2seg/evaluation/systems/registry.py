"""Systems by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from .weights import WEIGHTED, absent, find_weights, kind_of

# Bundles by name; None is the one that the package ships.
BUNDLES: dict[str, Path | None] = {"tiny": None}
# After a bundle's name: its colours prompted in mode "reference", whatever mode the bundle is for.
REFERENCE_SUFFIX = "-reference"
RIVALS: dict[str, Callable[[], System]] = {
    "rgb": RgbSystem,
    "floodfill": FloodFillSystem,
    "felzenszwalb": FelzenszwalbSystem,
    "watershed": WatershedSystem,
    "meanshift": MeanShiftSystem,
    "grabcut": GrabCutSystem,
    "sobel": SobelSystem,
}


@dataclass(frozen=True)
class Options:
    """How systems with learned weights are opened.

    Attributes:
        sweep: those of colours also try COLOR_DISTANCES, which shows what another default distance would give.
        later: colour distance at which those of colours answer all clicks but the first; None: as the first.
        device: where those run that PyTorch runs, see `device_of`.
    """

    sweep: bool = False
    later: float | None = None
    device: str = "cpu"


def get_system(
    name: str,
    bundles: Mapping[str, Path] | None = None,
    *,
    sweep: bool = False,
    later: float | None = None,
    device: str = "cpu",
) -> SystemSpec:
    """Look a system up: a name in `bundles`, BUNDLES, RIVALS or WEIGHTED, a bundle's name with REFERENCE_SUFFIX, or
    the path of a folder of weights: a bundle, a checkpoint, SAM, SimpleClick.

    Args:
        name: what to look up; a path's last part becomes the name in the report.
        bundles: more names for folders of weights; they win over the known ones.
        sweep, later, device: see Options.

    Returns:
        How to open it; of a name in WEIGHTED whose weights are not here, how they are had.
    Raises:
        EvaluationError: nothing has that name.
    """
    options = Options(sweep, later, device)
    named = {**BUNDLES, **(bundles or {})}
    if name in named:
        return _open_folder(name, named[name], options) or _bundle(name, named[name], options)
    if name in RIVALS:
        return SystemSpec(name, RIVALS[name])
    if name in WEIGHTED:
        folder = find_weights(name)
        return (folder and _open_folder(name, folder, options)) or absent(name)
    bare = name.removesuffix(REFERENCE_SUFFIX)
    if bare != name and bare in named:
        return _bundle(name, named[bare], replace(options, sweep=False), "reference")
    path = Path(name).resolve()
    found = _open_folder(path.name, path, options)
    if found is None:
        known = ", ".join([*named, *RIVALS, *WEIGHTED])
        raise EvaluationError(f"unknown system {name!r}; known: {known}, or the path of a bundle or checkpoint")
    return found


def get_systems(
    names: Sequence[str],
    bundles: Mapping[str, Path] | None = None,
    *,
    sweep: bool = False,
    later: float | None = None,
    device: str = "cpu",
) -> list[SystemSpec]:
    """`get_system` for several names; those of `bundles` that are not listed follow at the end.

    Raises:
        EvaluationError: a name is unknown, comes twice or ends in "-best", or there is none.
    """
    bundles = bundles or {}
    wanted = [*names, *(name for name in bundles if name not in names)]
    return check_names([get_system(name, bundles, sweep=sweep, later=later, device=device) for name in wanted])


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


def _open_folder(name: str, path: Path | None, options: Options) -> SystemSpec | None:
    """What a folder of weights is opened by; None if it is no such folder."""
    kind = "bundle" if path is None else kind_of(path)
    if path is None or kind == "bundle":
        return _bundle(name, path, options)
    if kind is None:
        return None
    return SystemSpec(name, partial(_open_weights, kind, path, options), learned=True)


def _open_weights(kind: str, path: Path, options: Options) -> System:
    if kind == "sam":
        from .sam import SamSystem

        return SamSystem(path, options.device)
    if kind == "simpleclick":
        from .simpleclick import SimpleClickSystem

        return SimpleClickSystem(path, options.device)
    from gen2seg.evaluation.checkpoints import CheckpointSystem

    return CheckpointSystem(path, sweep=options.sweep, later=options.later, device=options.device)


def _bundle(name: str, path: Path | None, options: Options, mode: str | None = None) -> SystemSpec:
    opener = partial(BundleSystem, path, sweep=options.sweep, mode=mode, later=options.later)
    return SystemSpec(name, opener, learned=True)
