"""What the card says of itself."""

from collections.abc import Callable
from dataclasses import dataclass

from gen2seg_kernels.cuda_driver import CudaPython


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        name: the product's.
        capability: compute capability times ten.
        memory_clock_khz, bus_bits: as the driver's device attributes tell.
    """

    name: str
    capability: int
    memory_clock_khz: int
    bus_bits: int

    @property
    def bandwidth(self) -> float:
        """Peak memory bandwidth, bytes per second: clock x 2 (data on both edges) x bus width.

        The attribute's clock already counts what newer memory transfers beyond that, so the formula gives the
        data sheet's figure for GDDR6X and HBM, too.
        """
        return self.memory_clock_khz * 1e3 * 2 * self.bus_bits / 8

    def __str__(self) -> str:
        return (
            f"{self.name}, sm_{self.capability}, {self.bandwidth / 1e9:.0f} GB/s "
            f"(memory clock {self.memory_clock_khz / 1e6:.3f} GHz x 2 x {self.bus_bits} bit)"
        )


def this_card(name: str, driver: CudaPython) -> Card:
    """The card of a driver."""
    return Card(
        name,
        driver.compute_capability(),
        driver.attribute("MEMORY_CLOCK_RATE"),
        driver.attribute("GLOBAL_MEMORY_BUS_WIDTH"),
    )


def bandwidth_line(name: str, moved: int, seconds: float, card: Card) -> str:
    """Bandwidth reached against the card's.

    Args:
        name: of what ran.
        moved: bytes that must be moved at least: inputs read once, outputs written once.
        seconds: it took.
    """
    reached = moved / seconds
    share = (
        f"{100 * reached / card.bandwidth:.1f} % of the card's {card.bandwidth / 1e9:.0f}" if card.bandwidth else "?"
    )
    return f"{name}: {seconds * 1e3:.3f} ms, {moved / 1e6:.1f} MB at least = {reached / 1e9:.1f} GB/s, {share} GB/s"


Timer = Callable[[Callable[[], object]], float]


def event_timer(call: Callable[[], object], runs: int = 20) -> float:
    """Seconds of one call by CUDA events, the median of `runs` after three that warm up."""
    import torch

    for _ in range(3):
        call()
    times = []
    for _ in range(runs):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]
