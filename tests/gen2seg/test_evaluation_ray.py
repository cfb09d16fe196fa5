"""The engine ray: same numbers as one process, also when a worker is killed. One local cluster for all of it."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.report import summarize, to_json
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import FloodFillSystem, SystemSpec, get_system
from gen2seg_runtime.errors import Gen2SegError


class Counted(FloodFillSystem):
    """Notes each picture that it is prepared for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, image):
        with (self.folder / "prepared").open("a") as notes:
            notes.write("x")
        return super().prepare(image)


class Killed(FloodFillSystem):
    """Kills its worker, once in all, in the middle of an image."""

    settings = (8.0,)

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def mask_at(self, state, point, setting):
        deaths = self.folder / "deaths"
        before = len(deaths.read_text()) if deaths.exists() else 0
        if before < self.times:
            with deaths.open("a") as notes:
                notes.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().mask_at(state, point, setting)

    def describe(self):
        return {"kind": "test"}


class Refuses(Killed):
    """Answers with an error of ours."""

    def prepare(self, image):
        raise EvaluationError("this picture is not to be had")


@pytest.fixture(scope="module")
def ray():
    module = pytest.importorskip("ray", reason="the engine ray needs Ray")
    module.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield module
    module.shutdown()


def test_ray_gives_the_same_report_though_a_worker_is_killed(ray, data_folder, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    reports = {}
    for engine, folder, times in (("processes", tmp_path / "here", 0), ("ray", tmp_path / "there", 1)):
        specs = [
            SystemSpec("counted", partial(Counted, folder)),
            SystemSpec("killed", partial(Killed, folder, times)),
            get_system("sobel"),
        ]
        config = EvaluationConfig(data_folder, engine=engine, cache=folder / "cache", gallery=1)
        seen = []
        reports[engine] = summarize(evaluate(config, specs, lambda done, total, seen=seen: seen.append((done, total))))
        assert seen == [(done, 6) for done in range(1, 7)]
    assert to_json(reports["ray"]) == to_json(reports["processes"])
    assert (tmp_path / "there/deaths").read_text() == "x"
    # The killed image's first system had been kept: nothing is done twice.
    assert (tmp_path / "there/prepared").read_text() == (tmp_path / "here/prepared").read_text() == 6 * "x"


def test_an_error_in_a_worker_is_the_one_of_one_process(ray, data_folder, tmp_path):
    config = EvaluationConfig(data_folder, ("outlines",), engine="ray")
    with pytest.raises(Gen2SegError, match=r"^this picture is not to be had$"):
        evaluate(config, [SystemSpec("refuses", partial(Refuses, tmp_path, 0))])


def test_without_ray_the_extra_is_named(data_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gen2seg\[ray\]'"):
        evaluate(EvaluationConfig(data_folder, engine="ray"), [get_system("sobel")])


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="unknown engine 'slurm'; known: processes, ray"):
        EvaluationConfig(tmp_path, engine="slurm")
