"""Prompting on a device, launch by launch: the launcher is a FAKE that runs the very kernels in Triton's interpreter.

What a launch is given is what the compiled kernels' contract would ask for; masks must equal the CPU's.
"""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import BackendError, PromptError
from gen2seg_runtime.gpu import prompt as device_prompt
from gen2seg_runtime.gpu.encoding import DeviceEncoding
from gen2seg_runtime.gpu.prompt import DevicePrompter

from .fake_gpu import FakeDevice
from .interpreting_launcher import InterpretingLauncher


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
    with pytest.raises(BackendError, match="cuda:0: nothing compiled"):
        DevicePrompter(device, launcher)
