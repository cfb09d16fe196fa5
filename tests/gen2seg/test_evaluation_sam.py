"""SAM on small random weights: the adapter against transformers itself, and through the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from gen2seg.commands.evaluate import command
from gen2seg.evaluation.systems import get_system
from gen2seg_runtime.formats.png import write_png

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
sam = pytest.importorskip("gen2seg.evaluation.systems.sam")

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SamConfig, SamModel

    torch.manual_seed(3)
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1], "num_pos_feats": 8,
            "mlp_dim": 64,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )  # fmt: skip
    model = SamModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # or every mask is one constant
    path = tmp_path_factory.mktemp("sam")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (37, 53, 3), np.uint8)


def _plain(folder: Path, image: np.ndarray, points: list[tuple[int, int]], labels: list[int], **options):
    from transformers import SamImageProcessor, SamModel, SamProcessor

    images = SamImageProcessor(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    processor: Any = SamProcessor(images)
    processor.target_size = SIDE
    inputs = processor(
        images=image, input_points=[[[list(p) for p in points]]], input_labels=[[labels]], return_tensors="pt"
    )
    with torch.no_grad():
        output = SamModel.from_pretrained(folder).eval()(
            pixel_values=inputs["pixel_values"],
            input_points=inputs["input_points"].float(),
            input_labels=inputs["input_labels"],
            **options,
        )
    large = images.post_process_masks(
        output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )[0][0]
    return output, large.numpy()


def test_clicks_equal_transformers_own(folder: Path, image: np.ndarray) -> None:
    system = sam.SamSystem(folder)
    state = system.prepare(image)
    output, large = _plain(folder, image, [(20, 11)], [1])
    best = int(output.iou_scores[0, 0].argmax())
    first = system.mask(state, [(20, 11)])
    torch.testing.assert_close(state.logits[(20, 11), 1][0, 0], output.pred_masks[0, 0, best], rtol=1e-3, atol=1e-3)
    clear = np.abs(large[best]) > 1e-2
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(first[clear], (large[best] > 0)[clear])

    points, labels = [(20, 11), (40, 30)], [1, 0]
    earlier = output.pred_masks[0, :, best : best + 1]
    again, _ = _plain(folder, image, points, labels, input_masks=earlier, multimask_output=False)
    system.mask(state, points, labels=(1, 0))
    found = state.logits[(*points, 1, 0)][0, 0]
    torch.testing.assert_close(found, again.pred_masks[0, 0, 0], rtol=1e-3, atol=1e-3)
    unfed, _ = _plain(folder, image, points, labels, multimask_output=False)
    assert (unfed.pred_masks[0, 0, 0] - found).abs().max() > 1e-2  # the logits before do matter


def test_automatic_masks_are_filtered(folder: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "GRID", 3)
    monkeypatch.setattr(sam, "IOU_CUT", -1e9)
    monkeypatch.setattr(sam, "STABILITY_CUT", 0.0)
    system = sam.SamSystem(folder)
    masks = system.masks(system.prepare(image))
    assert masks
    assert all(mask.shape == (37, 53) and mask.dtype == bool for mask, _ in masks)
    scores = [score for _, score in masks]
    assert scores == sorted(scores, reverse=True)
    monkeypatch.setattr(sam, "IOU_CUT", scores[0])
    assert system.masks(system.prepare(image)) == []


def test_stability_and_suppression() -> None:
    assert sam.stability(np.array([[2.0, 0.5, -0.5, -3.0]])) == pytest.approx(1 / 3)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [20, 20, 30, 30]])
    assert sam.suppress(boxes) == [0, 2, 3]  # overlaps with the first: 0.8, 0.5, 0
    assert sam.suppress(np.zeros((0, 4), int)) == []


def test_sam_through_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    for name, value in {"EDGE_GRID": 2, "GRID": 3, "IOU_CUT": -1e9, "STABILITY_CUT": 0.0}.items():
        monkeypatch.setattr(sam, name, value)
    for part in ("images", "instances", "edges"):
        (tmp_path / "data/own" / part).mkdir(parents=True)
    labels = np.zeros((37, 53), np.uint8)
    labels[5:20, 8:30] = 1
    write_png(tmp_path / "data/own/images/a.png", np.repeat(labels[..., None] * 200, 3, axis=2))
    write_png(tmp_path / "data/own/instances/a.png", labels)
    np.savez(tmp_path / "data/own/edges/a.npz", boundaries=np.diff(labels, axis=1, append=0)[None] != 0)
    wanted = ["--data", str(tmp_path / "data"), "--system", "sam-h,watershed,grabcut", "--bundle", f"small={folder}"]
    result = CliRunner().invoke(
        command, [*wanted, "--clicks", "3", "--next-click", "error", "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert document["systems"]["small"]["kind"] == "sam"
    assert "model.safetensors" in document["not_run"]["sam-h"]
    scores = document["sets"]["own"]["scores"]
    assert "sam-h" not in scores
    assert len(scores["small"]["clicks"]) == 3
    assert document["protocol"]["next_click"] == "error"
    assert document["sets"]["own"]["automatic"]["small"]["masks"] > 0
    assert document["sets"]["own"]["automatic"]["watershed"]["recall"]["10"] > 0.5
    assert list(document["sets"]["own"]["edges"]) == ["small", "sobel"]
    assert document["robustness"]["grey"].keys() == {"small"}
    assert (tmp_path / "out/worst-small.png").is_file()
    assert scores["watershed"]["miou"] > 0.8
    assert scores["grabcut"]["miou"] > 0.8
    assert "| sam-h | fetch config.json" in (tmp_path / "out/evaluation.md").read_text()


def test_edges_are_thin_and_normalised(folder: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "EDGE_GRID", 3)
    system = get_system(str(folder)).open()
    edges = system.edges(system.prepare(image))
    assert edges.shape == (37, 53)
    assert edges.max() == pytest.approx(1.0)
    assert 0 < np.count_nonzero(edges) < edges.size / 2
