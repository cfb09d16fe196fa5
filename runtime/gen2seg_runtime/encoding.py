"""An encoded picture: the colours that the network painted, and everything that is asked of them."""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from gen2seg_runtime.colors import check_colors
from gen2seg_runtime.encoding_file import EncodingData, read_encoding, write_encoding
from gen2seg_runtime.errors import ImageError, PromptError
from gen2seg_runtime.manifest import InstanceSpec, PromptSpec
from gen2seg_runtime.profile import timed
from gen2seg_runtime.prompts import Prompt, check_mode, check_prompt, is_list
from gen2seg_runtime.resample import map_points, resize_colors, resize_mask

if TYPE_CHECKING:
    from gen2seg_kernels import PreparedColors
    from gen2seg_runtime.instances import Instances
    from gen2seg_runtime.refine import Refinement


class Encoding:
    """The colours of one picture. Cannot be changed; may be shared between threads.

    `Segmenter.encode` and `Encoding.load` make them. Points are (x, y) in pixels of the picture that was
    encoded, whole numbers being pixel centres; every result has the size of that picture.
    """

    def __init__(
        self,
        colors: np.ndarray,
        size: tuple[int, int],
        *,
        bundle_id: str,
        bundle_name: str,
        prompt: PromptSpec | None = None,
        instances: InstanceSpec | None = None,
    ):
        """Make an encoding from colours.

        Args:
            colors: (h, w, 3) uint8 at processing size; copied.
            size: (H, W) of the picture.
            bundle_id, bundle_name: of the bundle that painted the colours.
            prompt, instances: defaults of `mask`, `masks` and of `instances`.
        Raises:
            ImageError: another shape or type, or a size without pixels.
        """
        check_colors(colors)
        height, width = _check_size(size)
        # Over bytes, not over an array: nobody can make such a view writable again.
        frozen = np.frombuffer(np.ascontiguousarray(colors).tobytes(), np.uint8).reshape(colors.shape)
        self._data = EncodingData(
            frozen,
            (height, width),
            bundle_id,
            bundle_name,
            prompt or PromptSpec(),
            instances or InstanceSpec(),
        )
        self._color_image: np.ndarray | None = None
        self._prepared: dict[str, PreparedColors] = {}  # by mode; made by the first click in it
        self._lock = threading.Lock()

    @property
    def colors(self) -> np.ndarray:
        """(h, w, 3) uint8 at processing size, read-only."""
        return self._data.colors

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture that was encoded."""
        return self._data.size

    @property
    def bundle_id(self) -> str:
        """SHA-256 of the manifest of the bundle that painted the colours."""
        return self._data.bundle_id

    @property
    def bundle_name(self) -> str:
        """Name of that bundle."""
        return self._data.bundle_name

    @property
    def prompt(self) -> PromptSpec:
        """Defaults of `mask` and `masks`."""
        return self._data.prompt

    @property
    def instance_defaults(self) -> InstanceSpec:
        """Defaults of `instances`."""
        return self._data.instances

    def __repr__(self) -> str:
        height, width = self.size
        rows, columns = self.colors.shape[:2]
        return f"Encoding({width}×{height} picture, {columns}×{rows} colours, {self.bundle_name})"

    def color_image(self) -> np.ndarray:
        """(H, W, 3) uint8 colours at the size of the picture (PIL Lanczos), read-only; computed once."""
        with self._lock:
            if self._color_image is None:
                image = resize_colors(self.colors, self.size)
                # Own memory unless it is the frozen colours themselves.
                if image is not self.colors:
                    image = np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape)
                self._color_image = image
            return self._color_image

    @overload
    def mask(
        self,
        points: Any,
        labels: Any = None,
        mode: str | None = None,
        return_confidence: Literal[False] = False,
        **options: Any,
    ) -> np.ndarray: ...

    @overload
    def mask(
        self,
        points: Any,
        labels: Any = None,
        mode: str | None = None,
        *,
        return_confidence: Literal[True],
        **options: Any,
    ) -> tuple[np.ndarray, float]: ...

    @timed("prompt")
    def mask(
        self,
        points: Any,
        labels: Any = None,
        mode: str | None = None,
        return_confidence: bool = False,
        **options: Any,
    ) -> Any:
        """Mask of the object under the points: the union of the positive ones less the negative ones.

        Args:
            points: N >= 1 pairs (x, y).
            labels: N values, 1 = positive, 0 = negative, at least one positive; None: all positive.
            mode: "metric" (a fixed colour distance) or "reference" (the rule of the paper, relative to the
                closest colour anywhere); None: the bundle's default.
            return_confidence: mode "metric": also tell how far the colours stay clear of the cut.
            options: other values than the bundle's: mode "metric" takes `distance` (colour distance of
                the cut, channels 0..255) and `connected` (only what touches the point); mode "reference"
                `sigma` (share of the image side) and `threshold` (0..255).
        Returns:
            bool (H, W), or with `return_confidence` that and a float in [0, 1].
        Raises:
            PromptError: no points, a point outside the picture or NaN, labels that do not fit, an
                unknown mode or option, or confidence asked of mode "reference".
        """
        mode, values = self._resolve(mode, options)
        prompt = check_prompt(points, labels, self.size)
        if not return_confidence:
            return self._masks([prompt], mode, values)[0]
        if mode != "metric":
            raise PromptError(f'only mode "metric" has a confidence; this is mode {mode!r}')
        from gen2seg_kernels import prompt_mask_with_confidence

        try:
            small, confidence = prompt_mask_with_confidence(
                self._prepare(mode), self._processing_points(prompt), prompt.positive, **values
            )
        except (ValueError, TypeError) as error:
            raise PromptError(str(error)) from error
        return resize_mask(small, self.size), float(confidence)

    @timed("prompt")
    def masks(
        self,
        prompts: Sequence[Any],
        labels: Sequence[Any] | None = None,
        mode: str | None = None,
        **options: Any,
    ) -> np.ndarray:
        """Masks of K prompts on this picture, each as `mask` gives it.

        Args:
            prompts: K lists of points.
            labels: K lists of labels (an entry may be None); None: all points are positive.
            mode, options: as for `mask`.
        Returns:
            bool (K, H, W).
        Raises:
            PromptError: as for `mask`, or `labels` has not one entry for each prompt.
        """
        mode, values = self._resolve(mode, options)
        for name, given in (("prompts", prompts), ("labels", [] if labels is None else labels)):
            if not is_list(given):
                raise PromptError(f"{name} must be a list with one entry for each prompt, got {type(given).__name__}")
        if labels is not None and len(labels) != len(prompts):
            raise PromptError(f"labels must hold one list for each of {len(prompts)} prompts, got {len(labels)}")
        signs = [None] * len(prompts) if labels is None else labels
        checked = [check_prompt(*pair, self.size) for pair in zip(prompts, signs, strict=True)]
        return self._masks(checked, mode, values)

    @timed("prompt")
    def refine(
        self,
        point: Any,
        label: int = 1,
        after: "Refinement | None" = None,
        mode: str | None = None,
        **options: Any,
    ) -> "Refinement":
        """One more click on a mask, at the cost of that click alone.

        Args:
            point: (x, y).
            label: 1 = positive: the mask grows; 0 = negative: it loses what the point marks.
            after: what an earlier call gave, which stays as it is; None: this is the first click.
            mode, options: as for `mask`, with the first click; later ones keep them.
        Returns:
            The clicks so far; its `mask` is bool (H, W), equal to `mask` with all points and labels.
        Raises:
            PromptError: as for `mask`; `mode` or options with a later click; `after` is of another encoding.
        """
        from gen2seg_kernels import prompt_refine, prompt_start
        from gen2seg_runtime.refine import Refinement

        if not isinstance(label, int | np.integer) or label not in (0, 1):
            raise PromptError(f"label must be 1 (positive) or 0 (negative), got {label!r}")
        # Whether there is a positive point is seen over all clicks: this one is checked as if it were.
        place = check_prompt([point], None, self.size)
        if after is None:
            mode, values = self._resolve(mode, options)
            try:
                state = prompt_start(self._prepare(mode), mode=mode, **values)
            except (ValueError, TypeError) as error:
                raise PromptError(str(error)) from error
            after = Refinement((), (), mode, self.size, state)
        elif not isinstance(after, Refinement):
            raise PromptError(f"`after` is what an earlier call gave, got {type(after).__name__}")
        elif mode is not None or options:
            raise PromptError("mode and options are those of the first click; a later one cannot change them")
        elif after.state.colors is not self._prepared.get(after.mode):
            raise PromptError("`after` was made by another encoding")
        points = place.points if after.mode == "reference" else self._processing_points(place)
        try:
            state = prompt_refine(after.state, points[0], label)
        except (ValueError, TypeError) as error:
            raise PromptError(str(error)) from error
        x, y = (float(value) for value in place.points[0])
        return Refinement((*after.points, (x, y)), (*after.labels, int(label)), after.mode, self.size, state)

    @timed("instances")
    def instances(
        self,
        *,
        distance: float | None = None,
        background: float | None = None,
        min_area: int | None = None,
        fill_holes: int = 0,
        hierarchy: bool = False,
        most: int | None = None,
    ) -> "Instances":
        """Every instance, largest first, labels at the size of the picture.

        `instances(hierarchy=True).masks()` gives all masks with scores, parts and groups too, the best first.

        Args:
            distance, background, min_area: as for `find_instances`; None: the bundle's defaults.
            fill_holes, hierarchy, most: as for `find_instances`. Areas and holes count pixels at processing size.
        Raises:
            ImageError: a parameter is out of its range.
        """
        from gen2seg_runtime.instances import find_instances

        defaults = self._data.instances
        return find_instances(
            self.colors,
            distance=defaults.distance if distance is None else distance,
            background=defaults.background if background is None else background,
            min_area=defaults.min_area if min_area is None else min_area,
            fill_holes=fill_holes,
            hierarchy=hierarchy,
            most=most,
            size=self.size,
        )

    @timed("edges")
    def edges(self) -> np.ndarray:
        """(H, W) float32 in [0, 1]: thin edges between colours, see `gen2seg_runtime.edges.color_edges`."""
        from gen2seg_runtime.edges import color_edges

        return color_edges(self.colors, self.size)

    @timed("prompt")
    def mask_box(
        self,
        box: Any,
        mode: str | None = None,
        *,
        clip: bool = True,
        return_confidence: bool = False,
        **options: Any,
    ) -> Any:
        """Mask of the object in a box: the query is the mean colour over the box's core.

        Args:
            box: x0, y0, x1, y1 in pixels, x1 and y1 one past the last column and row, as in
                `InstanceRecord.box`; at least partly inside the picture.
            mode, options: as for `mask` (mode "reference" takes no `sigma`).
            clip: leave out what lies outside the box.
            return_confidence: as for `mask`; with `clip` of what lies in the box.
        Returns:
            bool (H, W), or with `return_confidence` that and a float in [0, 1]; see `gen2seg_runtime.queries` for
            what the core is.
        Raises:
            PromptError: no such box, or as for `mask`.
        """
        mode, values = self._resolve(mode, options)
        from gen2seg_runtime import queries

        found = queries.mask_of_box(self, box, mode, values, clip, return_confidence)
        return found if return_confidence else found[0]

    @timed("prompt")
    def mask_like(self, mask: Any, mode: str | None = None, *, return_confidence: bool = False, **options: Any) -> Any:
        """Mask of what has the mean colour of a mask (a scribble, a lasso, another result).

        Args:
            mask: bool (H, W), at least one pixel true.
            mode, options: as for `mask` (mode "reference" takes no `sigma`).
            return_confidence: as for `mask`.
        Returns:
            bool (H, W), or with `return_confidence` that and a float in [0, 1].
        Raises:
            PromptError: another shape or type, an empty mask, or as for `mask`.
        """
        mode, values = self._resolve(mode, options)
        from gen2seg_runtime import queries

        found = queries.mask_of_region(self, mask, mode, values, return_confidence)
        return found if return_confidence else found[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write this encoding as one PNG that any viewer shows.

        Raises:
            OutputError: it cannot be written.
        """
        write_encoding(path, self._data)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            max_pixels: refuse larger ones, see `gen2seg_runtime.images.read_image`.
        Raises:
            ImageReadError: the file is missing or cannot be read.
            EncodingFormatError: it is damaged or was not written by `save`.
        """
        data = read_encoding(path, max_pixels)
        return cls(
            data.colors,
            data.size,
            bundle_id=data.bundle_id,
            bundle_name=data.bundle_name,
            prompt=data.prompt,
            instances=data.instances,
        )

    def _resolve(self, mode: str | None, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The mode and its options, the bundle's defaults filled in."""
        default = self._data.prompt
        mode = default.mode if mode is None else check_mode(mode)
        if mode == "metric":
            values: dict[str, Any] = {"distance": default.distance, "connected": default.connected}
        else:
            values = {"sigma": default.sigma, "threshold": default.threshold}
        unknown = sorted(set(options) - set(values))
        if unknown:
            raise PromptError(f"mode {mode!r} takes {', '.join(values)}; got {', '.join(unknown)}")
        return mode, values | {name: value for name, value in options.items() if value is not None}

    def _processing_points(self, prompt: Prompt) -> np.ndarray:
        return map_points(prompt.points, self.size, self.colors.shape[:2])

    def _prepare(self, mode: str) -> "PreparedColors":
        """What the kernels read in this mode, made by the first click and kept."""
        from gen2seg_kernels import prepare_colors

        colors = self.color_image() if mode == "reference" else self.colors
        with self._lock:
            if mode not in self._prepared:
                self._prepared[mode] = prepare_colors(colors)
            return self._prepared[mode]

    def _masks(self, prompts: list[Prompt], mode: str, values: dict[str, Any]) -> np.ndarray:
        from gen2seg_kernels import prompt_masks

        labels = [prompt.positive for prompt in prompts]
        try:
            colors = self._prepare(mode)
            if mode == "reference":
                points = [prompt.points for prompt in prompts]
                return prompt_masks(colors, points, mode=mode, labels=labels, **values)
            points = [self._processing_points(prompt) for prompt in prompts]
            small = prompt_masks(colors, points, mode=mode, labels=labels, **values)
        except (ValueError, TypeError) as error:
            raise PromptError(str(error)) from error
        result = np.empty((len(prompts), *self.size), bool)
        for k, mask in enumerate(small):
            result[k] = resize_mask(mask, self.size)
        return result


def _check_size(size: Any) -> tuple[int, int]:
    sides = size if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and 1 <= side < 1 << 31 for side in sides):
        raise ImageError(f"size must be two whole numbers (height, width) of at least 1, got {size!r:.100}")
    return int(sides[0]), int(sides[1])
