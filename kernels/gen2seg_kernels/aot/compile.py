"""One kernel, one architecture: Triton's compiler and assembler, with no GPU."""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gen2seg_kernels.aot.contract import Constant, Parameter
from gen2seg_kernels.aot.errors import ContractError, KernelBuildError
from gen2seg_kernels.aot.ptx import Entry, Usage, read_entry, read_usage
from gen2seg_kernels.aot.types import check_type
from gen2seg_kernels.variants import KernelVariant

# Triton appends two pointers of its own to every kernel; null where it asks for no scratch memory.
SCRATCH = ("global_scratch", "profile_scratch")
WARP = 32


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel, and what its launch needs to know of it."""

    name: str
    cubin: bytes
    ptx: str
    entry: Entry
    usage: Usage
    parameters: tuple[Parameter, ...]
    constants: Mapping[str, Constant]
    grid: tuple[str, str, str]
    shared_bytes: int
    doc: str


def compile_variant(variant: KernelVariant, sm: int) -> Compiled:
    """Compiles afresh, past Triton's cache, without source paths: the same input gives the same bytes anywhere.

    Args:
        variant: the kernel.
        sm: compute capability times ten.

    Raises:
        KernelBuildError: signature, PTX and Triton's own account disagree, or the kernel needs a launch that the
            contract cannot describe (scratch memory, clusters).
    """
    import triton
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types, alignments = _split_signature(variant)
    attributes = {
        (place,): [["tt.divisibility", alignments[name]]] for place, name in enumerate(types) if alignments[name] > 1
    }
    source = ASTSource(variant.kernel, types, dict(variant.constexprs), attributes)
    # Fusing is Triton's default, which an environment variable may change; files are the same everywhere.
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages, "enable_fp_fusion": True}
    log = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(knobs.cache.scope())
        stack.enter_context(knobs.compilation.scope())
        stack.enter_context(knobs.nvidia.scope())
        knobs.cache.dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="gen2seg-aot-"))
        knobs.compilation.always_compile = True
        knobs.compilation.disable_line_info = True  # else the files hold paths of the machine that built them
        knobs.nvidia.dump_ptxas_log = True
        stack.enter_context(contextlib.redirect_stdout(log))  # where Triton prints that log
        compiled = triton.compile(source, target=GPUTarget("cuda", sm, WARP), options=options)
    ptx: str = compiled.asm["ptx"]
    entry = read_entry(ptx)
    _check_launch(variant, sm, entry, compiled.metadata)
    return Compiled(
        variant.name,
        compiled.asm["cubin"],
        ptx,
        entry,
        read_usage(log.getvalue()),
        _parameters(variant, types, alignments, entry),
        {name: _constant(value) for name, value in variant.constexprs.items()},
        variant.grid,
        compiled.metadata.shared,
        variant.doc,
    )


def _split_signature(variant: KernelVariant) -> tuple[dict[str, str], dict[str, int]]:
    """Types as Triton takes them, and promised alignments; both for every argument in the kernel's order."""
    names = list(variant.kernel.arg_names)
    if list(variant.signature) != names:
        raise KernelBuildError(
            f"kernel {variant.name!r}: the signature names {list(variant.signature)}, the function takes {names}"
        )
    types = {name: text.partition(":")[0] for name, text in variant.signature.items()}
    constant = {name for name, kind in types.items() if kind == "constexpr"}
    if constant != set(variant.constexprs):
        raise KernelBuildError(
            f"kernel {variant.name!r}: constexpr arguments {sorted(constant)}, values for {sorted(variant.constexprs)}"
        )
    hints = {name: text.partition(":")[2] for name, text in variant.signature.items()}
    wrong = {name: hint for name, hint in hints.items() if hint not in ("", "16")}
    if wrong:
        raise KernelBuildError(f"kernel {variant.name!r}: only the hint 16 is known, got {wrong}")
    return types, {name: int(hint or 1) for name, hint in hints.items()}


def _parameters(
    variant: KernelVariant, types: Mapping[str, str], alignments: Mapping[str, int], entry: Entry
) -> tuple[Parameter, ...]:
    own = [name for name, kind in types.items() if kind != "constexpr"]
    if len(entry.parameters) != len(own) + len(SCRATCH):
        raise KernelBuildError(
            f"kernel {variant.name!r}: {len(own)} arguments and {len(SCRATCH)} scratch pointers expected, "
            f"PTX has {entry.parameters}"
        )
    kinds = [types[name] for name in own] + ["*u8"] * len(SCRATCH)
    parameters = tuple(
        Parameter(name, kind, ptx, name in SCRATCH, alignments.get(name, 1))
        for name, kind, ptx in zip([*own, *SCRATCH], kinds, entry.parameters, strict=True)
    )
    try:
        for parameter in parameters:
            check_type(parameter.name, parameter.type, parameter.ptx)
    except ContractError as error:
        raise KernelBuildError(f"kernel {variant.name!r}: {error}") from error
    return parameters


def _check_launch(variant: KernelVariant, sm: int, entry: Entry, metadata: Any) -> None:
    wanted = {
        "architecture": (sm, entry.sm),
        "threads of a block": (WARP * metadata.num_warps, entry.threads),
        "cooperating blocks": (1, metadata.num_ctas),
        "global scratch bytes": (0, metadata.global_scratch_size),
        "profile scratch bytes": (0, metadata.profile_scratch_size),
        "tensor memory": (0, metadata.tmem_size or 0),
    }
    for what, (expected, found) in wanted.items():
        if expected != found:
            raise KernelBuildError(f"kernel {variant.name!r} for sm_{sm}: {what}: expected {expected}, found {found}")


def _constant(value: Any) -> Constant:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
