"""The committed table of what every kernel uses, and what counts as worse than it."""

import json
from collections.abc import Mapping
from pathlib import Path

from gen2seg_kernels.aot.contract import Contract, Target

TABLE = Path(__file__).with_name("resources.json")

# Registers of a thread, shared memory of a block in bytes.
Row = tuple[int, int]
Table = Mapping[str, Mapping[str, Row]]


def rows_of(contract: Contract) -> Table:
    """Kernel -> architecture ("86") -> registers and shared memory."""
    return {
        name: {str(target.sm): (target.registers, target.shared_bytes) for target in kernel.targets}
        for name, kernel in sorted(contract.kernels.items())
    }


def read_table(path: Path = TABLE) -> tuple[str, Table]:
    """The Triton version the table was made with, and its rows.

    Raises:
        OSError, ValueError, KeyError: the file is missing or no such table.
    """
    document = json.loads(path.read_text())
    kernels = {
        name: {sm: (int(row[0]), int(row[1])) for sm, row in rows.items()} for name, rows in document["kernels"].items()
    }
    return document["triton"], kernels


def table_text(contract: Contract) -> str:
    """The table as it is committed: a line per kernel and architecture, so that a change shows where it is."""
    kernels = []
    for name, rows in rows_of(contract).items():
        lines = ",\n".join(f'   "{sm}": [{registers}, {shared}]' for sm, (registers, shared) in rows.items())
        kernels.append(f'  "{name}": {{\n{lines}\n  }}')
    body = ",\n".join(kernels)
    return (
        '{\n "columns": ["registers per thread", "shared memory per block, bytes"],\n'
        f' "triton": "{contract.triton}",\n "kernels": {{\n{body}\n }}\n}}\n'
    )


def complaints(contract: Contract, table: Table) -> list[str]:
    """What is wrong with compiled kernels: spills, growth past the table, kernels the table does not have, and
    kernels or architectures of the table that were not compiled."""
    found = []
    for kernel in contract.kernels.values():
        rows = table.get(kernel.name, {})
        found += [text for target in kernel.targets for text in _complaints(kernel.name, target, rows)]
    compiled = rows_of(contract)
    for name, rows in table.items():
        missing = sorted(set(rows) - set(compiled.get(name, {})), key=int)
        if missing:
            found.append(f"{name}: in the table for sm_{', sm_'.join(missing)}, but not compiled")
    return found


def _complaints(name: str, target: Target, rows: Mapping[str, Row]) -> list[str]:
    where = f"{name}.sm_{target.sm}"
    found = []
    spilled = target.spill_store_bytes + target.spill_load_bytes
    if spilled:
        found.append(f"{where}: spills ({target.spill_store_bytes} bytes stored, {target.spill_load_bytes} loaded)")
    if str(target.sm) not in rows:
        return [*found, f"{where}: not in the table of resources"]
    registers, shared = rows[str(target.sm)]
    if target.registers > registers:
        found.append(f"{where}: {target.registers} registers, the table has {registers}")
    if target.shared_bytes > shared:
        found.append(f"{where}: {target.shared_bytes} bytes of shared memory, the table has {shared}")
    return found
