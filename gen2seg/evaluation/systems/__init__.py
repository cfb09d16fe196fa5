"""What is judged: bundles, checkpoints, SAM, SimpleClick, and rivals without weights, behind one small interface.

A system is prepared once per image and then clicked. It may have several *settings* (a tolerance, a scale):
every click is answered at each of them, and the report names the best one of each set. That choice sees the
ground truth, so it favours whoever has settings: the rivals.
"""

from .bundles import COLOR_DISTANCES, BundleSystem, ColorSystem
from .devices import DeviceError, device_of
from .interface import Points, Proposals, Segments, Setting, Signs, System, SystemSpec
from .registry import BUNDLES, RIVALS, check_names, get_system, get_systems
from .rivals import FelzenszwalbSystem, FloodFillSystem, GrabCutSystem, RgbSystem, SobelSystem, WatershedSystem
from .weights import NETWORKS, SAM_HUB, WEIGHTED, absent, kind_of

__all__ = [
    "BUNDLES",
    "COLOR_DISTANCES",
    "NETWORKS",
    "RIVALS",
    "SAM_HUB",
    "WEIGHTED",
    "BundleSystem",
    "ColorSystem",
    "DeviceError",
    "FelzenszwalbSystem",
    "FloodFillSystem",
    "GrabCutSystem",
    "Points",
    "Proposals",
    "RgbSystem",
    "Segments",
    "Setting",
    "Signs",
    "SobelSystem",
    "System",
    "SystemSpec",
    "WatershedSystem",
    "absent",
    "check_names",
    "device_of",
    "get_system",
    "get_systems",
    "kind_of",
]
