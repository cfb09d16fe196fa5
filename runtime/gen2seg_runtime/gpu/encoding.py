"""An `Encoding` whose clicks are answered by a GPU: `DeviceEncoding(seg.encode(image), open_prompter(seg.bundle))`."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.request import Prompt as CheckedPrompt
from gen2seg_kernels.prompt.request import ReferenceCut
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import PromptError
from gen2seg_runtime.gpu.cuda import CudaDevice
from gen2seg_runtime.gpu.launcher import open_kernels
from gen2seg_runtime.gpu.prompt import DeviceColors, DevicePrompter
from gen2seg_runtime.prompts import Prompt, check_prompt
from gen2seg_runtime.resample import resize_mask


def open_prompter(bundle: Bundle, device_id: int = 0) -> DevicePrompter:
    """Prompting on a GPU by the kernels that a bundle holds.

    Args:
        bundle: exported with a GPU target.
        device_id: number of the GPU.
    Raises:
        BackendError: the bundle holds no kernels or none for this GPU, cuda-python or the driver is missing.
    """
    device = CudaDevice(device_id)
    return DevicePrompter(device, open_kernels(bundle, device_id))


class DeviceEncoding:
    """The colours of an encoding in GPU memory. Masks equal those of `Encoding`; may be shared between threads.

    Leaving the `with` block, or `close()`, frees the memory.
    """

    def __init__(self, encoding: Encoding, prompter: DevicePrompter, colors: DeviceColors | None = None) -> None:
        """Bring the colours to the GPU when they are first asked for: at processing size for mode "metric", at the
        picture's for "reference".

        Args:
            encoding: in main memory.
            prompter: on the GPU.
            colors: the encoding's colours, where they are there already; freed with this object.
        """
        self._encoding = encoding
        self._prompter = prompter
        self._colors: dict[str, DeviceColors] = {} if colors is None else {"metric": colors}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def encoding(self) -> Encoding:
        """The encoding in main memory."""
        return self._encoding

    def mask(
        self, points: Any, labels: Any = None, mode: str | None = None, return_confidence: bool = False, **options: Any
    ) -> Any:
        """bool (H, W), or with `return_confidence` that and a float, see `Encoding.mask`.

        Raises:
            PromptError: as `Encoding.mask`; BackendError: the driver or a kernel refuses.
        """
        if not return_confidence:
            return self.masks([points], [labels], mode, **options)[0]
        mode, values = self._encoding._resolve(mode, options)
        if mode != "metric":
            raise PromptError(f'only mode "metric" has a confidence; this is mode {mode!r}')
        prompt = self._at_processing_size(check_prompt(points, labels, self._encoding.size))
        small, confidence = self._prompter.mask_with_confidence(self._loaded(mode), prompt, _metric_cut(values))
        return resize_mask(small, self._encoding.size), confidence

    def masks(
        self, prompts: Sequence[Any], labels: Sequence[Any] | None = None, mode: str | None = None, **options: Any
    ) -> np.ndarray:
        """bool (K, H, W), see `Encoding.masks`.

        Raises:
            as `mask`.
        """
        mode, values = self._encoding._resolve(mode, options)
        if labels is not None and len(labels) != len(prompts):
            raise PromptError(f"labels must hold one list for each of {len(prompts)} prompts, got {len(labels)}")
        signs = [None] * len(prompts) if labels is None else labels
        checked = [check_prompt(*pair, self._encoding.size) for pair in zip(prompts, signs, strict=True)]
        if mode == "reference":
            own = [CheckedPrompt(prompt.points, prompt.positive) for prompt in checked]
            return self._prompter.masks(self._loaded(mode), own, ReferenceCut(values["sigma"], values["threshold"]))
        own = [self._at_processing_size(prompt) for prompt in checked]
        small = self._prompter.masks(self._loaded(mode), own, _metric_cut(values))
        result = np.empty((len(own), *self._encoding.size), bool)
        for k, mask in enumerate(small):
            result[k] = resize_mask(mask, self._encoding.size)
        return result

    def close(self) -> None:
        """Free the memory; may be called twice. A later prompt brings the colours to the GPU again."""
        while self._colors:
            self._colors.popitem()[1].close()

    def _at_processing_size(self, prompt: Prompt) -> CheckedPrompt:
        return CheckedPrompt(self._encoding._processing_points(prompt), prompt.positive)

    def _loaded(self, mode: str) -> DeviceColors:
        if mode not in self._colors:
            colors = self._encoding.color_image() if mode == "reference" else self._encoding.colors
            self._colors.setdefault(mode, self._prompter.load(colors))
        return self._colors[mode]


def _metric_cut(values: dict[str, Any]) -> MetricCut:
    return MetricCut(values["distance"], bool(values["connected"]))
