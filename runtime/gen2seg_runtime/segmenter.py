"""From pictures to encodings: the bundle's preprocessing, its network, its normalisation."""

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from gen2seg_runtime.backends import Backend, Choice, choose_backends, open_chosen
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.colors import check_shape, normalize_colors
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import BundleWarning
from gen2seg_runtime.images import read_image
from gen2seg_runtime.manifest import Manifest
from gen2seg_runtime.preprocess import Geometry, network_input, plan_geometry


class Segmenter:
    """An opened bundle. Make one with `Segmenter.open`; may be shared between threads."""

    def __init__(self, bundle: Bundle, backend: Backend, choices: Sequence[Choice] = ()):
        self._bundle = bundle
        self._backend = backend
        self._choices = tuple(choices)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Open a bundle.

        Args:
            path: the bundle's folder; None: the one that comes with this package.
            backend: "auto" or a name of `gen2seg_runtime.backends.available_backends()`.
            threads: for the network; None: GEN2SEG_NUM_THREADS, else the physical cores.
            options: of the named backend: "onnxruntime" takes `provider` ("cpu", "cuda", "tensorrt",
                "nv_tensorrt_rtx"), `device_id`, `cpu_nodes` and `provider_options`; engines take `device_id`.
        Raises:
            BundleError, BundleIOError: the bundle cannot be read or is not intact, see `Bundle.open`.
            BackendError: unknown backend or option, missing library or GPU, or the library refuses the model.
        Warns:
            BundleWarning: the weights are untrained.
        """
        bundle = Bundle.open(path)
        choices = choose_backends(bundle.manifest, backend, options)
        opened = open_chosen(bundle, choices, threads, options)
        bundle.release()
        if bundle.manifest.weights.state == "untrained":
            message = f"{bundle.manifest.name}: untrained weights, its masks mean nothing (for latency work only)"
            warnings.warn(message, BundleWarning, stacklevel=2)
        return cls(bundle, opened, choices)

    @property
    def bundle(self) -> Bundle:
        """The bundle."""
        return self._bundle

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._bundle.manifest

    @property
    def backend_name(self) -> str:
        """Name of the backend that runs the network."""
        return self._backend.name

    @property
    def backend_choices(self) -> tuple[Choice, ...]:
        """Which backend runs which stage of the network, and why."""
        return self._choices

    def encode(self, image: Any, *, max_pixels: int | None = None) -> Encoding:
        """Paint the instances of a picture.

        Args:
            image: a path, a PIL image or an array, see `gen2seg_runtime.images.read_image`.
            max_pixels: refuse larger pictures, see there.
        Raises:
            ImageError, ImageReadError: the picture cannot be used or read.
            BackendError: the inference library failed.
            NetworkOutputError: the network returned NaN, infinity or another shape.
        """
        x, geometry = self._prepare(image, max_pixels)
        return self._finish(self._backend.run(x), x, geometry)

    def encode_with_stages(
        self, image: Any, *, max_pixels: int | None = None
    ) -> tuple[dict[str, np.ndarray], Encoding]:
        """As `encode`, and beside the encoding what each stage of the network gave, for verification.

        Returns:
            (name of the stage -> float32 (1, C, H, W), the last one the raw colours; the encoding).
        Raises:
            as `encode`.
        """
        x, geometry = self._prepare(image, max_pixels)
        stages = self._backend.run_stages(x)
        return stages, self._finish(list(stages.values())[-1], x, geometry)

    def encode_batch(self, images: Sequence[Any], *, max_pixels: int | None = None) -> list[Encoding]:
        """Encode pictures one after the other, reading the next one while the network works.

        Each result is the same as `encode` gives: a picture never sees its batch mates.

        Raises:
            as `encode`, for the first picture that fails.
        """
        if not images:
            return []
        encodings = []
        with ThreadPoolExecutor(1, thread_name_prefix="gen2seg-read") as reader:
            waiting = reader.submit(self._prepare, images[0], max_pixels)
            for index in range(1, len(images) + 1):
                prepared = waiting.result()
                if index < len(images):
                    waiting = reader.submit(self._prepare, images[index], max_pixels)
                x, geometry = prepared
                encodings.append(self._finish(self._backend.run(x), x, geometry))
        return encodings

    def _prepare(self, image: Any, max_pixels: int | None) -> tuple[np.ndarray, Geometry]:
        rgb = read_image(image, max_pixels=max_pixels)
        spec = self.manifest.input
        geometry = plan_geometry((rgb.shape[0], rgb.shape[1]), spec)
        return network_input(rgb, spec, geometry), geometry

    def _finish(self, raw: np.ndarray, x: np.ndarray, geometry: Geometry) -> Encoding:
        check_shape(raw, x.shape, "network output")
        height, width = geometry.content
        manifest = self.manifest
        return Encoding(
            normalize_colors(raw[0], manifest.output)[:height, :width],
            geometry.image,
            bundle_id=self._bundle.id,
            bundle_name=manifest.name,
            prompt=manifest.prompt,
            instances=manifest.instances,
        )
