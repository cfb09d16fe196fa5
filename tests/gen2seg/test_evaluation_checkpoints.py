"""A training checkpoint is judged by the runtime's rules around its own network."""

import sys

import numpy as np
import pytest
from PIL import Image

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.report import summarize
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import get_system


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from gen2seg.backbones import get_backbone
    from gen2seg.training.checkpoint import save_weights

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "weights"
    save_weights(get_backbone("tiny").build({}), folder, {"backbone": "tiny", "architecture": {}})
    return folder


def test_colors_are_those_of_the_network(checkpoint, data_folder):
    import torch

    from gen2seg.training.checkpoint import load_weights

    image = np.asarray(Image.open(data_folder / "disks/images/disks0.png"))
    image = np.pad(image, ((0, 288), (0, 336), (0, 0)), mode="edge")  # 384 x 448: no resize, no padding
    spec = get_system(str(checkpoint))
    assert spec.name == "weights"
    system = spec.open()
    encoding = system.prepare(image)
    module, _ = load_weights(checkpoint)
    with torch.inference_mode():
        x = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)
        expected = module(x)[0].numpy().transpose(1, 2, 0)
    # The colours are cut to whole numbers, and the two ways to normalise differ in the last bit.
    assert np.abs(encoding.colors - np.floor(expected)).max() <= 1
    assert system.mask(encoding, [(20, 24)], None)[24, 20]
    assert system.describe()["kind"] == "checkpoint"


def test_a_checkpoint_is_evaluated_like_a_bundle(checkpoint, data_folder):
    config = EvaluationConfig(data_folder, ("outlines",), limit=1)
    report = summarize(evaluate(config, [get_system("net", {"net": checkpoint}, sweep=True)]))
    outlines = report.sets["outlines"]
    assert list(outlines.scores) == ["net", "net-best"]
    assert 0 <= outlines.scores["net"].miou <= outlines.scores["net-best"].miou <= 1
    assert list(outlines.edges) == ["net", "sobel"]


def test_without_torch_the_extra_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"gen2seg\[train\]"):
        get_system(str(checkpoint)).open()
