"""Whether a bundle for GPUs holds prompting kernels for the GPU at hand; without them clicks run on the CPU."""

from collections.abc import Iterator
from pathlib import Path

from gen2seg_kernels.aot.architectures import fitting_architecture
from gen2seg_kernels.aot.contract import architectures, read_contract
from gen2seg_kernels.aot.errors import ContractError
from gen2seg_runtime.doctor.report import Note
from gen2seg_runtime.machine import Probes
from gen2seg_runtime.manifest import Manifest

_FOLDER = "kernels"


def missing_kernels(root: Path, manifest: Manifest, probes: Probes) -> Iterator[Note]:
    """A note where the first GPU finds no compiled kernels in a bundle that holds some."""
    gpus = probes.gpus()
    if not gpus or all(record.path != f"{_FOLDER}/kernels.json" for record in manifest.files):
        return
    try:
        contract = read_contract(root / _FOLDER)
    except ContractError as error:
        yield Note("G2S-W105", f"the contract of the compiled kernels cannot be used: {error}")
        return
    for kernel in contract.kernels.values():
        if fitting_architecture(gpus[0].capability, ((t.sm, t.exact) for t in kernel.targets)) is None:
            yield Note(
                "G2S-W105",
                f"{gpus[0].name} is sm_{gpus[0].capability}, the kernels are for {architectures(kernel)}: "
                "clicks run on the CPU",
            )
            return
