"""The report of the runtime benchmark: what is in its tables, and which ways its plot draws."""

import pytest

from bench.runtime_report import CLICKS, ENCODE, MEMORY, Report


@pytest.fixture
def report() -> Report:
    made = Report()
    made.add(ENCODE, "network alone", "bare", [0.1])
    made.add(ENCODE, "encode", "ours", [0.2, 0.1, 0.4], "a note")
    made.add(ENCODE, "encode, another network", "ours", [9.0])
    made.add(CLICKS, "1 click, mode metric", "ours", [0.001, 0.003])
    made.add(CLICKS, "100 clicks in one call, mode metric", "ours", [5.0])
    made.add(MEMORY, "peak", "ours", (), "open 100")
    return made


def test_tables(report: Report) -> None:
    text = report.markdown("a machine")
    assert "| encode | ours | 200.00 (100.00 to 400.00, 3) | a note |" in text
    assert "| peak | ours |  | open 100 |" in text
    assert text.index(ENCODE) < text.index(CLICKS) < text.index(MEMORY)
    assert "The whole picture" not in text  # nothing was measured there


def test_plot_draws_ways_with_an_encode_and_a_click(report: Report, tmp_path) -> None:
    assert report.curves() == {"ours, mode metric": (0.2, pytest.approx(0.002))}
    report.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_find(report: Report) -> None:
    assert report.find(ENCODE, "encode", "bare") is None
    assert report.find(MEMORY, "peak", "ours") is None  # it has no times
    row = report.find(ENCODE, "encode", "ours")
    assert row is not None
    assert row.median == 0.2
