"""Results as objects of other libraries, which must be installed already."""

from typing import Any

import numpy as np

from gen2seg_runtime.errors import MissingLibraryError
from gen2seg_runtime.instances import Instances


def to_supervision(instances: Instances, ids: list[int] | None = None) -> Any:
    """The instances as `supervision.Detections`.

    Args:
        instances: K of them.
        ids: K tracker ids (for streams); None: no tracker ids.
    Returns:
        Detections with xyxy (K, 4) float32, mask (K, H, W) bool, confidence (K,) = score, class_id (K,) = 0
        and data["color"] (K, 3) uint8. The masks take K·H·W bytes.
    Raises:
        MissingLibraryError: supervision is not installed.
    """
    try:
        from supervision import Detections  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingLibraryError(f"to_supervision needs: pip install supervision ({error})") from error
    records = instances.records
    count = len(records)
    masks = np.empty((count, *instances.labels.shape), bool)
    for k, record in enumerate(records):
        np.equal(instances.labels, record.id, out=masks[k])
    return Detections(
        xyxy=np.array([record.box for record in records], np.float32).reshape(count, 4),
        mask=masks,
        confidence=np.array([record.score for record in records], np.float32),
        class_id=np.zeros(count, np.int64),
        tracker_id=None if ids is None else np.array(ids, np.int64),
        data={"color": np.array([record.color for record in records], np.uint8).reshape(count, 3)},
    )
