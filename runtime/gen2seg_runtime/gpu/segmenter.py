"""Encode and prompt on one GPU: raw output, colours and clicks stay there, and no PyTorch is near.

    with DeviceSegmenter.open("build/sd2", "tensorrt_rtx") as seg:
        with seg.encode("photo.jpg") as enc:
            mask = enc.mask([(120, 80)])

Not run on hardware so far.
"""

import os
from typing import Any, Self

from gen2seg_runtime.backends import open_backend
from gen2seg_runtime.backends.chain import Chain
from gen2seg_runtime.backends.engine_chain import EngineChain
from gen2seg_runtime.backends.engine_runner import EngineRunner
from gen2seg_runtime.backends.engine_stage import EngineStage
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.gpu.encoding import DeviceEncoding
from gen2seg_runtime.gpu.launcher import Launcher, open_kernels
from gen2seg_runtime.gpu.paint import DevicePainter, check_raw
from gen2seg_runtime.gpu.prompt import DevicePrompter
from gen2seg_runtime.segmenter import Segmenter


class DeviceSegmenter:
    """An opened bundle whose networks are engines. May be shared between threads, which take turns.

    Leaving the `with` block, or `close()`, frees the GPU memory; encodings free their own.
    """

    def __init__(self, bundle: Bundle, backend: Chain, kernels: Launcher) -> None:
        """Raises BackendError if a stage is no engine, or nothing was compiled for this GPU."""
        self._segmenter = Segmenter(bundle, backend)
        self._runner = _runner(backend)
        self._painter = DevicePainter(self._runner.device, kernels)
        self._prompter = DevicePrompter(self._runner.device, kernels)

    @classmethod
    def open(cls, path: str | os.PathLike[str], backend: str = "tensorrt_rtx", device_id: int = 0) -> Self:
        """Open a bundle.

        Args:
            path: the bundle's folder.
            backend: "tensorrt_rtx" or "tensorrt".
            device_id: number of the GPU.
        Raises:
            BundleError, BundleIOError: as `Segmenter.open`.
            BackendError: a missing library, GPU, engine or compiled kernel.
        """
        bundle = Bundle.open(path)
        opened = open_backend(bundle, backend, options={"device_id": device_id})
        made = cls(bundle, opened, open_kernels(bundle, device_id))
        bundle.release()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def segmenter(self) -> Segmenter:
        """The same bundle and engines with everything else on the CPU."""
        return self._segmenter

    def encode(self, image: Any, *, max_pixels: int | None = None) -> DeviceEncoding:
        """Paint the instances of a picture, as `Segmenter.encode` does.

        Raises:
            as `Segmenter.encode`.
        """
        x, geometry = self._segmenter._prepare(image, max_pixels)
        manifest = self._segmenter.manifest
        with self._runner.output_on_device(x) as (address, shape):
            check_raw(shape, x.shape)
            kept, colors = self._painter.paint(
                address, geometry.padded, geometry.content, manifest.output, self._runner.stream
            )
        encoding = Encoding(
            colors,
            geometry.image,
            bundle_id=self._segmenter.bundle.id,
            bundle_name=manifest.name,
            prompt=manifest.prompt,
            instances=manifest.instances,
        )
        return DeviceEncoding(encoding, self._prompter, kept)

    def close(self) -> None:
        """Free everything but encodings; may be called twice."""
        self._painter.close()
        self._prompter.close()
        self._runner.close()


def _runner(backend: Chain) -> EngineRunner:
    if isinstance(backend, EngineChain):
        return backend.runner
    sessions = [session for _, session in backend.sessions]
    if len(sessions) == 1 and isinstance(sessions[0], EngineStage):
        return sessions[0].runner
    raise BackendError(f"a GPU segmenter needs engines for all stages, these run in {backend.name}")
