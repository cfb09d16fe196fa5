"""A launcher of compiled kernels that runs the very kernels in Triton's interpreter, on a `FakeDevice`'s memory."""

import ctypes
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from gen2seg_kernels.aot.contract import Kernel, Parameter
from gen2seg_kernels.colors import triton as colors
from gen2seg_kernels.prompt import triton as prompt

from .fake_gpu import FakeDevice

TYPES = {"*u8": "uint8", "*i32": "int32", "*i64": "int64", "*fp32": "float32", "*fp64": "float64"}


class InterpretingLauncher:
    """`CompiledKernels` whose kernels run in the interpreter, on the fake device's memory."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.variants = {variant.name: variant for variant in [*prompt.variants(), *colors.variants()]}
        self.launched: list[str] = []
        self.contract = SimpleNamespace(kernel=self._kernel)

    def _kernel(self, name: str) -> Kernel:
        variant = self.variants[name]
        kinds = {key: kind for key, kind in variant.signature.items() if kind != "constexpr"}
        names = set().union(*(compile(rule, "rule", "eval").co_names for rule in variant.grid)) - {"cdiv"}
        parameters = (
            *(Parameter(key, kind, "") for key, kind in kinds.items()),
            Parameter("s", "*u8", "", scratch=True),
        )
        return Kernel(name, "", name, parameters, tuple(sorted(names - set(kinds))), ())

    def target(self, name: str) -> Any:
        return SimpleNamespace(constants=self.variants[name].constexprs)

    def launch(self, name: str, arguments: Mapping[str, Any], *, grid: Any = None, stream: int = 0) -> None:
        variant = self.variants[name]
        kernel = self._kernel(name)
        own = {parameter.name: parameter.type for parameter in kernel.parameters if not parameter.scratch}
        assert set(arguments) == set(own) | set(kernel.grid_arguments), name
        for key, kind in own.items():
            assert type(arguments[key]) is (float if kind == "fp32" else int), f"{name}: {key}"
        self.launched.append(name)

        def work() -> None:
            rules = [eval(rule, {"cdiv": lambda a, b: -(-a // b)}, dict(arguments)) for rule in variant.grid]
            values = {key: self._value(arguments[key], kind) for key, kind in own.items()}
            variant.kernel[tuple(rules)](**values, **variant.constexprs)

        self.device.enqueue(stream, work)

    def _value(self, value: int, kind: str) -> Any:
        if not kind.startswith("*"):
            return value
        for start, (size, _) in self.device.memory.items():
            if start <= value < start + size:
                kind = TYPES[kind]
                count = (start + size - value) // np.dtype(kind).itemsize
                bytes_ = (ctypes.c_uint8 * (count * np.dtype(kind).itemsize)).from_address(value)
                return torch.frombuffer(bytes_, dtype=getattr(torch, kind))
        raise AssertionError(f"no memory at {value}")
