"""What is judged: bundles, and rivals without weights, behind one small interface.

A system is prepared once per image and then clicked. It may have several *settings* (a tolerance, a scale):
every click is answered at each of them, and the report names the best one of each set. That choice sees the
ground truth, so it favours whoever has settings: the rivals.
"""

from .bundles import COLOR_DISTANCES, BundleSystem, ColorSystem
from .interface import Points, Setting, System, SystemSpec
from .registry import BUNDLES, RIVALS, get_system, get_systems
from .rivals import FelzenszwalbSystem, FloodFillSystem, GrabCutSystem, RgbSystem, SobelSystem, WatershedSystem
from .sam import SAM_HUB, SamSystem

__all__ = [
    "BUNDLES",
    "COLOR_DISTANCES",
    "RIVALS",
    "SAM_HUB",
    "BundleSystem",
    "ColorSystem",
    "FelzenszwalbSystem",
    "FloodFillSystem",
    "GrabCutSystem",
    "Points",
    "RgbSystem",
    "SamSystem",
    "Setting",
    "SobelSystem",
    "System",
    "SystemSpec",
    "WatershedSystem",
    "get_system",
    "get_systems",
]
