"""A small checkpoint of each backbone in the hub's layout: exported, verified by its goldens, opened, clicked on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen2seg.backbones.dino import random_dino, save_dino
from gen2seg.backbones.mae import mae_config, random_mae, save_mae
from gen2seg.backbones.sd2 import SD2, random_sd2, save_sd2
from gen2seg_export.pipeline import export_bundle
from gen2seg_runtime import Segmenter
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.verify import verify_goldens

from .conftest import skip_slow_parts
from .test_dino import SMALL as SMALL_DINO
from .test_mae import SMALL as SMALL_MAE
from .test_sd2 import SMALL as SMALL_SD2


def _sd2(folder: Path) -> None:
    save_sd2(random_sd2(SD2.updated(SMALL_SD2)), folder, state="trained")


def _mae(folder: Path) -> None:
    save_mae(random_mae(mae_config("mae-b", SMALL_MAE)).net, folder)


def _dino(folder: Path) -> None:
    save_dino(random_dino(SMALL_DINO).net, folder)


@pytest.mark.parametrize(
    ("backbone", "save", "options"),
    [
        ("sd2", _sd2, {"sizes": [(48, 64)]}),
        ("mae-b", _mae, {}),
        ("dino-b", _dino, {}),
    ],
    ids=["sd2", "mae-b", "dino-b"],
)
def test_checkpoint_to_mask(
    backbone: str,
    save: Callable[[Path], None],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    skip_slow_parts(monkeypatch)
    save(tmp_path / "checkpoint")
    report = export_bundle(
        tmp_path / "b", backbone=backbone, checkpoint=tmp_path / "checkpoint", threads=1, max_images=1, **options
    )
    assert report.manifest.weights.state == "trained"
    assert report.parity.passed
    bundle = Bundle.open(report.path)
    assert verify_goldens(bundle, ["onnxruntime"], threads=1).passed
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    encoding = Segmenter.open(report.path, threads=1).encode(picture)
    mask = encoding.mask([(20, 30)])
    assert (mask.shape, mask.dtype) == ((50, 70), np.bool_)
    assert encoding.colors.std() > 0
