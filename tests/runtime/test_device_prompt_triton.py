"""Prompting on a device, launch by launch: the launcher is a FAKE that runs the very kernels in Triton's interpreter.

What a launch is given is what the compiled kernels' contract would ask for; masks must equal the CPU's.
"""

import ctypes
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from gen2seg_kernels.aot.contract import Kernel, Parameter  # noqa: E402
from gen2seg_kernels.prompt import triton as host  # noqa: E402
from gen2seg_runtime.encoding import Encoding  # noqa: E402
from gen2seg_runtime.errors import BackendError, PromptError  # noqa: E402
from gen2seg_runtime.gpu import prompt as device_prompt  # noqa: E402
from gen2seg_runtime.gpu.encoding import DeviceEncoding  # noqa: E402
from gen2seg_runtime.gpu.prompt import DevicePrompter  # noqa: E402

from .fake_gpu import FakeDevice  # noqa: E402

TYPES = {"*u8": "uint8", "*i32": "int32", "*i64": "int64", "*fp32": "float32", "*fp64": "float64"}


class InterpretingLauncher:
    """`CompiledKernels` whose kernels run in the interpreter, on the fake device's memory."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.variants = {variant.name: variant for variant in host.variants()}
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
        assert all(type(value) is int for value in arguments.values())
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


@pytest.fixture
def prompter() -> DevicePrompter:
    device = FakeDevice()
    return DevicePrompter(device, InterpretingLauncher(device))


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    blocks = np.kron(coarse, np.ones((7, 9, 1), np.uint8))
    colors = np.clip(blocks + rng.normal(0, 6, blocks.shape), 0, 255).astype(np.uint8)
    return Encoding(colors, (23, 40), bundle_id="0", bundle_name="painter")


PROMPTS = [[(3, 3)], [(20.4, 11), (39, 22)], [(12, 20)]]
LABELS = [None, [1, 0], None]


@pytest.mark.parametrize(
    ("mode", "options"),
    [("metric", {}), ("metric", {"connected": False, "distance": 25.0}), ("reference", {"sigma": 0.05})],
    ids=str,
)
def test_masks_are_those_of_the_cpu(prompter: DevicePrompter, encoding: Encoding, mode: str, options: dict[str, Any]):
    with DeviceEncoding(encoding, prompter) as on_device:
        masks = on_device.masks(PROMPTS, LABELS, mode=mode, **options)
        assert masks.dtype == bool
        np.testing.assert_array_equal(masks, encoding.masks(PROMPTS, LABELS, mode=mode, **options))
        assert on_device.masks([], mode=mode).shape == (0, 23, 40)
    taken = len(prompter.device.memory)  # pyright: ignore[reportAttributeAccessIssue]
    assert taken == 2  # the tables and the arena; the colours are freed
    for _ in range(2):
        prompter.close()
    assert prompter.device.memory == {}  # pyright: ignore[reportAttributeAccessIssue]


def test_groups_share_the_scratch_memory(prompter: DevicePrompter, encoding: Encoding, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_prompt, "SCRATCH_BYTES", 1)
    on_device = DeviceEncoding(encoding, prompter)
    np.testing.assert_array_equal(on_device.masks(PROMPTS, LABELS), encoding.masks(PROMPTS, LABELS))
    assert prompter._kernels.launched.count("prompt_join") == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_confidence_is_that_of_the_cpu(prompter: DevicePrompter, encoding: Encoding):
    on_device = DeviceEncoding(encoding, prompter)
    mask, confidence = on_device.mask(PROMPTS[1], LABELS[1], mode="metric", return_confidence=True)
    expected, known = encoding.mask(PROMPTS[1], LABELS[1], mode="metric", return_confidence=True)
    np.testing.assert_array_equal(mask, expected)
    assert confidence == known
    with pytest.raises(PromptError, match="has a confidence"):
        on_device.mask([(1, 1)], mode="reference", return_confidence=True)


def test_wrong_prompts(prompter: DevicePrompter, encoding: Encoding):
    on_device = DeviceEncoding(encoding, prompter)
    with pytest.raises(PromptError, match="outside"):
        on_device.mask([(100, 1)])
    with pytest.raises(PromptError, match="one list for each"):
        on_device.masks([[(1, 1)]], [])


def test_a_refused_launch_is_a_backend_error(prompter: DevicePrompter, encoding: Encoding):
    def refuse(name: str, *_: Any, **__: Any) -> None:
        raise ValueError("argument sigma is missing")

    prompter._kernels.launch = refuse  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(BackendError, match="kernel prompt_pack: argument sigma is missing"):
        DeviceEncoding(encoding, prompter).mask([(1, 1)])


def test_no_kernels_for_this_gpu():
    device = FakeDevice()
    launcher = InterpretingLauncher(device)

    def nothing(name: str) -> Any:
        raise ValueError("nothing compiled runs on this device")

    launcher.target = nothing  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(BackendError, match="prompting on cuda:0: nothing compiled"):
        DevicePrompter(device, launcher)
