"""How the Triton kernels of the loss cut their work, by the card's compute capability.

An entry is chosen from what the kernels compile to: no spills, and registers and shared memory for at least 16 warps
of each kernel on a multiprocessor. Entries without `measured_on` are untuned: nobody has timed them.
`make gpu-check TUNE=1` times `candidates` on a card and writes its entry.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from gen2seg_kernels.aot.architectures import fitting_architecture, is_exact


@dataclass(frozen=True)
class Tiles:
    """Sizes that are fixed when the kernels are compiled; powers of two but for the chains.

    Results of two settings differ by rounding only; results of one have the same bits on every run.

    Attributes:
        sum_pixels: sorted pixels that a program of `sum_colors` and `sum_pulls` owns.
        sum_rows: instances it looks for at once among them.
        sum_warps: its warps.
        row_block: instances that a program of `describe_instances` and `collect_rows` owns.
        row_slots: partial sums of each that it adds at once.
        row_warps: its warps.
        mean_block: instances that a program of `push_means` and `push_levels` owns.
        mean_pixels: pixels (or other means) that they meet at once.
        mean_chain: steps of that loop that are summed without compensation.
        mean_warps: its warps.
        pixel_block: pixels that a program of `push_pixels` owns.
        pixel_chain: instances that are summed without compensation.
        pixel_warps: its warps.
        measured_on: the card whose timings chose the entry; "" if none did.

    Raises:
        ValueError: a size is not a power of two, or a chain not positive.
    """

    sum_pixels: int = 256
    sum_rows: int = 4
    sum_warps: int = 4
    row_block: int = 8
    row_slots: int = 64
    row_warps: int = 4
    mean_block: int = 16
    mean_pixels: int = 32
    mean_chain: int = 64
    mean_warps: int = 4
    pixel_block: int = 512
    pixel_chain: int = 64
    pixel_warps: int = 4
    measured_on: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "measured_on":
                continue
            if value < 1 or (not field.name.endswith("_chain") and value & (value - 1)):
                raise ValueError(f"{field.name} must be a power of two (a chain any number >= 1), got {value}")


# On sm_100, 512 pixels in `push_pixels` spill.
TABLE: dict[int, Tiles] = {
    75: Tiles(),  # untuned
    80: Tiles(),  # untuned
    86: Tiles(),  # untuned
    87: Tiles(),  # untuned
    89: Tiles(),  # untuned
    90: Tiles(),  # untuned
    100: Tiles(pixel_block=256),  # untuned
    120: Tiles(),  # untuned
}


def tiles_for(capability: int) -> Tiles:
    """The entry of a compute capability (86 for 8.6).

    Without one of its own it is that of the compiled file that the card runs (8.8 runs sm_86), so that launches and
    files agree; where there is none, that of the closest capability below.
    """
    known = fitting_architecture(capability, ((known, is_exact(known)) for known in TABLE))
    return TABLE[known or max((known for known in TABLE if known <= capability), default=min(TABLE))]


def candidates(base: Tiles) -> Iterator[Tiles]:
    """`base` and what is worth timing beside it: one kernel's sizes differ at a time."""
    yield base
    for pixels, rows in ((128, 4), (512, 2), (512, 4), (1024, 2)):
        yield replace(base, sum_pixels=pixels, sum_rows=rows, measured_on="")
    for block, pixels, warps in ((8, 32, 1), (8, 32, 2), (16, 32, 2), (16, 64, 4), (32, 32, 4), (32, 32, 8)):
        yield replace(base, mean_block=block, mean_pixels=pixels, mean_warps=warps, measured_on="")
    for pixels, warps in ((128, 1), (128, 4), (256, 2), (256, 4), (1024, 8)):
        yield replace(base, pixel_block=pixels, pixel_warps=warps, measured_on="")
