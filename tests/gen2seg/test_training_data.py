"""Training on data sets: own masks, several processes, what a dry run tells."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gen2seg.config import TrainConfig, load_config
from gen2seg.data.cleaning import clean
from gen2seg.data.sets import DataSetError, open_set
from gen2seg.toml_records import ConfigError
from gen2seg.training import cli_entry
from gen2seg.training.plan import describe
from gen2seg.training.run import train
from tests.gen2seg import data_trees as trees

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
steps = {steps}
output = "{output}"
architecture = {{full_channels = 4, half_channels = 8, channels = [8, 8, 16, 16], heads = 2, attention_layers = 1}}
mixed_precision = "no"
checkpoint_every = 100
log_every = 1
[data]
workers = 0
batch = 2
[data.sources.mine]
kind = "folder"
root = "{root}/folder"
weight = 3
size = [64, 96]
[data.sources.drives]
kind = "virtual-kitti-2"
root = "{root}/kitti"
size = [64, 64]
fit = "crop"
[optimizer]
lr = 3e-3
warmup_steps = 2
accumulate = 2
[objective]
contrastive = 1.0
coloring = 0.1
"""


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("data")
    trees.folder(root / "folder")
    trees.virtual_kitti2(root / "kitti")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEN2SEG_CACHE", str(root / "cache"))
        yield root


def config_file(data: Path, folder: Path, steps: int) -> Path:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(steps=steps, output=folder / "run", root=data))
    return path


def read_config(data: Path, folder: Path, steps: int, *overrides: str) -> TrainConfig:
    return load_config(str(config_file(data, folder, steps)), list(overrides))


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_it_learns_from_own_masks_and_shows_samples(data: Path, tmp_path: Path) -> None:
    train(read_config(data, tmp_path, 30, "sample_every=30", "optimizer.ema_decay=0"))
    curve = losses(tmp_path / "run")
    assert sum(curve[-5:]) < 0.8 * sum(curve[:5])
    with Image.open(tmp_path / "run" / "samples" / "step-00000030.png") as sheet:
        assert sheet.width > 3 * 64


def test_resuming_with_a_mixture_is_exact(data: Path, tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    (tmp_path / "broken").mkdir()
    train(read_config(data, tmp_path / "straight", 6))
    train(read_config(data, tmp_path / "broken", 3))
    train(read_config(data, tmp_path / "broken", 6), resume=True)
    assert losses(tmp_path / "straight" / "run") == losses(tmp_path / "broken" / "run")


def test_two_processes_give_the_curve_of_one(data: Path, tmp_path: Path) -> None:
    """The same micro-batches, dealt out: equal but for the order of sums."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    train(read_config(data, tmp_path / "one", 4, "objective.contrastive=0"))
    path = config_file(data, tmp_path / "two", 4)
    code = "import sys; from gen2seg.training import cli_entry; cli_entry(sys.argv[1], sys.argv[2:], False, False)"
    script = tmp_path / "run.py"
    script.write_text(code)
    paths = os.pathsep.join(str(REPOSITORY / part) for part in ("", "export", "runtime", "kernels"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run(
        [*launch, str(path), "objective.contrastive=0"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two" / "run") == pytest.approx(losses(tmp_path / "one" / "run"), rel=2e-4)


def test_a_dry_run_counts_the_pictures(data: Path, tmp_path: Path) -> None:
    plan = describe(read_config(data, tmp_path, 10))
    text = str(plan)
    assert not plan.missing
    assert "mine: 4 pictures; 75% of the micro-batches, 2 pictures of 64x96 each" in text
    assert "drives: 4 pictures" in text
    assert "10 of 2 micro-batch(es), 40 pictures" in text


def test_a_dry_run_says_all_that_is_missing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli_entry("mae-b", [], resume=False, dry_run=True) == 1
    text = capsys.readouterr().out
    assert "111,655,168 trained parameters" in text
    assert "facebook/vit-mae-base, from the hub when the run begins" in text
    assert "data.sources.hypersim: data/hypersim: no such folder; hypersim expects there [rgb/]SCENE" in text
    assert "data.sources.virtual-kitti-2: data/virtual-kitti-2: no such folder" in text
    gone = describe(read_config(data, tmp_path, 2, "init=nowhere"))
    assert "nowhere" in gone.missing[0]


def test_files_that_cannot_be_read_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    images = trees.folder(tmp_path / "folder") / "images"
    trees.virtual_kitti2(tmp_path / "kitti")
    (images / "photo1.png").write_bytes(b"nothing")
    config = read_config(tmp_path, tmp_path, 8)
    whole = clean(open_set("folder", images.parent))
    assert len(whole.unreadable) == 1
    times = (images / "photo2.png").stat()
    (images / "photo2.png").write_bytes(b"x" * times.st_size)  # breaks unseen, after it was looked at
    os.utime(images / "photo2.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    train(config)
    listed = (tmp_path / "run" / "skipped.txt").read_text().splitlines()
    assert len(listed) == 2
    assert "photo1.png" in listed[0]
    assert "photo2.png" in listed[1]
    said = capsys.readouterr().err
    assert "mine: 3 pictures; dropped: 1 unreadable" in said
    assert said.count("skipped:") == 2
    assert "2 file(s) could not be read" in said


def test_bad_sources_are_explained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no such folder"):
        train(read_config(data, tmp_path, 2, "data.sources.mine.root=nowhere"))
    with pytest.raises(ConfigError, match="categories: unknown chair; known: none"):
        describe(read_config(data, tmp_path, 2, "data.sources.mine.categories=['chair']"))
    with pytest.raises(ConfigError, match="trained whole"):
        describe(read_config(data, tmp_path, 2, "model.trained=decoder"))
    with pytest.raises(ConfigError, match="no gradient checkpointing"):
        describe(read_config(data, tmp_path, 2, "model.gradient_checkpointing=true"))
