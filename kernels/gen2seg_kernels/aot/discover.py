"""Which Triton kernels there are: every file `triton*.py` of the package lists its own in `variants()`."""

import ast
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import gen2seg_kernels
from gen2seg_kernels.aot.architectures import ARCHITECTURES
from gen2seg_kernels.aot.errors import KernelBuildError
from gen2seg_kernels.variants import KernelVariant


def triton_modules() -> list[str]:
    """Names of the package's modules whose file, or a folder above it, is called `triton...`; none is imported."""
    root = Path(gen2seg_kernels.__path__[0])
    paths = (path.relative_to(root.parent).with_suffix("") for path in sorted(root.rglob("*.py")))
    parts = [path.parts[:-1] if path.name == "__init__" else path.parts for path in paths]
    return [".".join(part) for part in parts if any(name.startswith("triton") for name in part)]


def all_variants(modules: Iterable[str]) -> list[KernelVariant]:
    """The variants that these modules list.

    Raises:
        KernelBuildError: two variants would write one file.
        RuntimeError: see `refuse_interpreter`.
    """
    refuse_interpreter()
    variants = [
        variant
        for module in map(importlib.import_module, modules)
        if callable(getattr(module, "variants", None)) and module.variants.__module__ == module.__name__
        for variant in module.variants()
    ]
    seen: dict[tuple[str, int], KernelVariant] = {}
    for variant in variants:
        for sm in targets_of(variant, ARCHITECTURES):
            if (variant.name, sm) in seen:
                raise KernelBuildError(f"two variants are called {variant.name!r} on sm_{sm}; a name must be unique")
            seen[variant.name, sm] = variant
    return variants


def targets_of(variant: KernelVariant, architectures: Iterable[int]) -> list[int]:
    """Those of the architectures that the variant is for."""
    return [sm for sm in architectures if variant.architectures is None or sm in variant.architectures]


def kernels_left_out(modules: Iterable[str], variants: Iterable[KernelVariant]) -> list[str]:
    """`module.kernel` for each jitted function that no variant compiles and no other jitted function calls."""
    functions = {f"{m}.{name}": f for m in modules for name, f in jitted(importlib.import_module(m)).items()}
    used = {id(variant.kernel) for variant in variants}.union(*map(_called_by, functions.values()))
    return sorted(name for name, function in functions.items() if id(function) not in used)


def jitted(module: ModuleType) -> dict[str, Any]:
    """The `triton.jit` functions that a module defines itself."""
    from triton.runtime.jit import JITFunction

    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and value.fn.__module__ == module.__name__
    }


def refuse_interpreter() -> None:
    """Raises RuntimeError where TRITON_INTERPRET has replaced the kernels by interpreted ones."""
    from triton import knobs

    if knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set: kernels are interpreted in this process, not compiled; unset it")


def _called_by(function: Any) -> set[int]:
    """Identities of what the names in a jitted function stand for, under whatever name, but itself."""
    nodes = list(ast.walk(ast.parse(function.src)))
    scope = function.fn.__globals__
    found = [scope.get(node.id) for node in nodes if isinstance(node, ast.Name)]
    found += [
        getattr(scope.get(node.value.id), node.attr, None)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    return {id(value) for value in found if value is not function}
