"""The GPUs that kernels are compiled for, and which of the compiled files a GPU can run.

Source: CUDA C++ Programming Guide, "Binary compatibility": a file for X.y runs on X.z with z >= y, neither between
desktop GPUs and Tegra, nor if it was assembled for one architecture's own features (sm_90a).
"""

from collections.abc import Iterable

# Compute capability without the dot: T4, A100, RTX 30, Orin, RTX 40, H100, B200, RTX 50.
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
TEGRA = frozenset({62, 72, 87, 101, 110})


def is_exact(sm: int) -> bool:
    """Whether Triton assembles this architecture for its own features (sm_90a), so that no other runs the file."""
    return sm >= 90


def fitting_architecture(device: int, compiled: Iterable[tuple[int, bool]]) -> int | None:
    """The best compiled architecture for a device.

    Args:
        device: compute capability times ten, e.g. 86.
        compiled: architectures and whether each is assembled for that architecture only (the "a" in sm_90a).

    Returns:
        The architecture, or None where no file fits.
    """
    fitting = [sm for sm, exact in compiled if sm == device or (not exact and _compatible(sm, device))]
    return max(fitting, default=None)


def _compatible(sm: int, device: int) -> bool:
    return sm // 10 == device // 10 and sm <= device and sm not in TEGRA and device not in TEGRA
