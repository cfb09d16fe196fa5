"""The instance colouring loss on the CPU: checks and hands over to the C extension."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.native import load_native
from gen2seg_kernels.threads import thread_count

# Places in the C side's g2s_float_type and g2s_label_type. NumPy has no bfloat16: uint16 holds its bits.
_FLOAT_TYPES = (np.float16, np.uint16, np.float32, np.float64)
_LABEL_TYPES = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64)
_FLOATS: dict[np.dtype[Any], int] = {np.dtype(t): n for n, t in enumerate(_FLOAT_TYPES)}
_LABELS: dict[np.dtype[Any], int] = {np.dtype(t): n for n, t in enumerate(_LABEL_TYPES)}
BEST = -1


def loss_and_grad(
    pred: NDArray[Any],
    labels: NDArray[np.integer],
    ignored: Sequence[bool],
    valid: NDArray[np.bool_] | None,
    config: LossConfig,
    with_grad: bool,
    *,
    threads: int | None = None,
    level: int = BEST,
) -> tuple[NDArray[np.float64], NDArray[np.floating] | None]:
    """The terms of the loss per image, and the gradient of the loss: the mean over the images of their sums.

    The result has the same bits for every number of threads. Its extra memory is linear in pixels + instances.

    Args:
        pred: (B, 3, H, W) float16, float32 or float64, or uint16 with the bits of bfloat16; colours in 0..255.
        labels: (B, H, W) integer, 0 = background, any other ids.
        ignored: for each image, whether its background is unlabelled.
        valid: (B, H, W) bool; None takes all pixels.
        config: the weights.
        with_grad: whether to compute the gradient.
        threads: at most so many; None for `gen2seg_kernels.threads.thread_count`'s answer.
        level: of the instruction set: 0 any machine, 1 AVX2, 2 AVX-512, never above the machine's own; for tests.

    Returns:
        Intra, inter and mean-level term, weighted and divided by the number of intra terms, (B, 3); and
        (B, 3, H, W) float64 for float64 `pred`, else float32, or None.

    Raises:
        TypeError: a type is not among those above.
        ValueError: shapes disagree, or a valid label is negative.
        ImportError: the extension is not installed.
    """
    _check(pred, labels, ignored, valid)
    native = load_native()
    if native is None:
        raise ImportError("the compiled kernels are not installed; gen2seg_kernels.loss.eager runs without them")
    pred, labels = (np.require(array, requirements=("C", "A")) for array in (pred, labels))
    valid = None if valid is None else np.ascontiguousarray(valid)
    batch = len(pred)
    terms = np.zeros((batch, 3))
    grad = np.zeros(pred.shape, np.float64 if pred.dtype == np.float64 else np.float32) if with_grad else None
    for b in range(batch):
        terms[b] = native.loss_image(
            pred[b],
            _FLOATS[pred.dtype],
            labels[b],
            _LABELS[labels.dtype],
            None if valid is None else valid[b],
            ignored[b],
            astuple(config),
            1.0 / batch,
            None if grad is None else grad[b],
            thread_count(threads),
            level,
        )
    return terms, grad


def _check(pred: NDArray[Any], labels: NDArray[Any], ignored: Sequence[bool], valid: NDArray[Any] | None) -> None:
    if pred.dtype not in _FLOATS:
        raise TypeError(f"pred must be float16, float32, float64 or bfloat16's bits as uint16, got {pred.dtype}")
    if labels.dtype not in _LABELS:
        raise TypeError(f"labels must be integers of at most 64 bits with sign, got {labels.dtype}")
    if valid is not None and valid.dtype != np.bool_:
        raise TypeError(f"valid must be bool, got {valid.dtype}")
    if pred.ndim != 4 or pred.shape[1] != 3 or len(pred) == 0:
        raise ValueError(f"pred must be (B, 3, H, W) with B >= 1, got {pred.shape}")
    expected = (pred.shape[0], *pred.shape[2:])
    for name, array in (("labels", labels), ("valid", valid)):
        if array is not None and array.shape != expected:
            raise ValueError(f"{name} must be (B, H, W) = {expected} like pred, got {array.shape}")
    if len(ignored) != len(pred):
        raise ValueError(f"ignored must hold {len(pred)} values, one per image, got {len(ignored)}")
