"""From pictures to encodings: the bundle's preprocessing, its network, its normalisation."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from gen2seg_runtime.backends import Backend, Choice, choose_backends, open_chosen
from gen2seg_runtime.batching import GroupRunner
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.colors import check_shape, normalize_colors
from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import BundleWarning, ImageError
from gen2seg_runtime.images import pixel_limit, read_image
from gen2seg_runtime.manifest import Manifest
from gen2seg_runtime.preprocess import Geometry, check_geometry, network_input, plan_geometry
from gen2seg_runtime.profile import Timings, collect, stage
from gen2seg_runtime.prompts import is_list

if TYPE_CHECKING:
    from gen2seg_runtime.stream import Stream


class Segmenter:
    """An opened bundle. Make one with `Segmenter.open`; may be shared between threads."""

    def __init__(self, bundle: Bundle, backend: Backend, choices: Sequence[Choice] = ()):
        self._bundle = bundle
        self._backend = backend
        self._groups = GroupRunner(backend)
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
        return self._finish(self._run(x), x, geometry)

    def encode_tiled(
        self, image: Any, *, tile: int | None = None, overlap: int | None = None, max_pixels: int | None = None
    ) -> Encoding:
        """Paint the instances of a large picture in overlapping tiles, at the full size of the picture.

        One object gets one colour, whichever tiles it lies in (`gen2seg_runtime.tiles`). Objects larger than a
        tile are seen in parts only: use `encode` for them. Memory: 7 bytes a pixel beyond the picture (3 bytes a
        pixel) and one tile's work; what is asked of the encoding comes on top, see docs/streams.md.

        Args:
            image, max_pixels: as for `encode`.
            tile: side of a tile in pixels, at least 32; None: the largest side that the network sees.
            overlap: least overlap of neighbouring tiles in pixels, up to half a tile; None: a fifth of a tile.
                Objects that cross a seam should be as wide as this at least.
        Returns:
            As `encode` gives, with colours at the size of the picture; of a picture that fits into one tile, the
            same as `encode`.
        Raises:
            as `encode`, and ImageError for a tile or overlap out of its range.
        """
        from gen2seg_runtime.tiles import encode_tiles, plan_tiles

        with stage("read"):
            rgb = read_image(image, max_pixels=max_pixels)
        size = rgb.shape[0], rgb.shape[1]
        plan = plan_tiles(size, self.manifest.input, tile, overlap)
        if len(plan.rows) == len(plan.columns) == 1:
            return self.encode(rgb, max_pixels=max_pixels)
        colors, last = encode_tiles(rgb, self.encode, plan, self.manifest.instances)
        del rgb
        return Encoding(
            colors,
            size,
            bundle_id=last.bundle_id,
            bundle_name=last.bundle_name,
            prompt=last.prompt,
            instances=last.instance_defaults,
        )

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

    def encode_batch(self, images: Sequence[Any], *, batch: int = 1, max_pixels: int | None = None) -> list[Encoding]:
        """Encode pictures, reading the next one while the network works.

        Each result is the same as `encode` gives, to the bit: a picture never sees its batch mates.

        Args:
            images, max_pixels: as for `encode`.
            batch: pictures that come to one network size are run together, up to so many (and take so much more
                memory), where that changes no bit of the results (`gen2seg_runtime.batching`); 1: one by one.
        Raises:
            ImageError: `batch` is no whole number >= 1.
            as `encode`, for the first picture that fails.
        """
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ImageError(f"batch must be a whole number >= 1, got {batch!r:.100}")
        if not is_list(images):
            raise ImageError(f"images must be a list of pictures, got {type(images).__name__}")
        encodings: dict[int, Encoding] = {}
        waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray, Geometry]]] = {}

        def run(group: list[tuple[int, np.ndarray, Geometry]]) -> None:
            with stage("network"):
                outputs = self._groups.run([x for _, x, _ in group])
            for (index, x, geometry), raw in zip(group, outputs, strict=True):
                encodings[index] = self._finish(raw, x, geometry)

        for index, (x, geometry) in enumerate(self._prepared(images, max_pixels)):
            group = waiting.setdefault(x.shape, [])
            group.append((index, x, geometry))
            if len(group) == batch:
                run(waiting.pop(x.shape))
        for group in waiting.values():
            run(group)
        return [encodings[index] for index in range(len(images))]

    def stream(
        self, frames: Iterable[Any], *, drop: bool = True, memory: int = 15, max_pixels: int | None = None
    ) -> "Stream":
        """Work on pictures that keep coming: an iterator of `gen2seg_runtime.stream.StreamResult`.

        Args:
            frames: an iterable of whatever `encode` takes; read in a thread of its own from now on.
            drop: take the newest frame and skip what came before it (cameras); False: take every frame, and let
                the source wait (files).
            memory: for how many frames an instance that is out of sight keeps its number.
            max_pixels: as for `encode`.
        Raises:
            ImageError: `frames` is not iterable, or `memory` is no whole number >= 0.
        """
        from gen2seg_runtime.stream import Stream

        return Stream(self, frames, drop=drop, memory=memory, max_pixels=max_pixels)

    def profile(self) -> AbstractContextManager[Timings]:
        """Collect the time of each stage while a block runs, in this thread; see `gen2seg_runtime.profile`."""
        return collect()

    def _prepared(self, images: Sequence[Any], max_pixels: int | None) -> Iterator[tuple[np.ndarray, Geometry]]:
        """The pictures as inputs, in order; the next one is made while the caller works on one."""
        if not len(images):
            return
        from concurrent.futures import ThreadPoolExecutor

        context = copy_context()  # so that a profile around this call sees what the thread does
        with ThreadPoolExecutor(1, thread_name_prefix="gen2seg-read") as reader:
            ahead = reader.submit(context.run, self._prepare, images[0], max_pixels)
            for index in range(1, len(images) + 1):
                prepared = ahead.result()
                if index < len(images):
                    ahead = reader.submit(context.run, self._prepare, images[index], max_pixels)
                yield prepared

    def _run(self, x: np.ndarray) -> np.ndarray:
        with stage("network"):
            return self._backend.run(x)

    def _prepare(self, image: Any, max_pixels: int | None) -> tuple[np.ndarray, Geometry]:
        with stage("read"):
            rgb = read_image(image, max_pixels=max_pixels)
        spec = self.manifest.input
        with stage("resize"):
            geometry = plan_geometry((rgb.shape[0], rgb.shape[1]), spec)
            check_geometry(geometry, pixel_limit(max_pixels))
            return network_input(rgb, spec, geometry), geometry

    def _finish(self, raw: np.ndarray, x: np.ndarray, geometry: Geometry) -> Encoding:
        check_shape(raw, x.shape, "network output")
        height, width = geometry.content
        manifest = self.manifest
        with stage("normalise"):
            # The rule "fixed" looks at each pixel alone; the others at the padding too.
            crop = np.s_[:, :height, :width] if manifest.output.normalization == "fixed" else np.s_[:]
            colors = normalize_colors(raw[0][crop], manifest.output)[:height, :width]
        return Encoding(
            colors,
            geometry.image,
            bundle_id=self._bundle.id,
            bundle_name=manifest.name,
            prompt=manifest.prompt,
            instances=manifest.instances,
        )
