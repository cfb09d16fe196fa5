"""Exported bundles beside PyTorch and a plain ONNX export: latency, memory, size and accuracy, same weights.

Small architectures by default; `--full` (`make full`) takes the real ones, in two hours. `--bundles DIR` keeps the
bundles and the rows of the table there, and takes the bundles again that it finds: groups can be measured one by one
(`-k "sd2"`), and the report has them all. Times are only compared within one run.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.export_report import BASE, Row, markdown, plot, read_rows, times_as_fast, write_rows
from bench.export_way import measure_way
from gen2seg_export.errors import ExportError
from gen2seg_export.pipeline import export_bundle
from gen2seg_export.resources import machine_description
from gen2seg_runtime.difference import difference

SMALL: dict[str, Any] = {
    "sd2": {
        "unet": {
            "block_out_channels": [16, 32, 32, 32],
            "attention_head_dim": [1, 2, 2, 2],
            "cross_attention_dim": 24,
            "norm_num_groups": 8,
            "layers_per_block": 1,
        },
        "vae": {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1},
    },
    "mae-b": {"num_hidden_layers": 2, "decoder_num_hidden_layers": 1, "hidden_size": 96, "intermediate_size": 192},
}
# group -> (backbone, VAE, sizes)
GROUPS: dict[str, tuple[str, str | None, list[tuple[int, int]]]] = {
    "sd2 480x640": ("sd2", None, [(480, 640)]),
    "sd2 480x640, light VAE": ("sd2", "taesd", [(480, 640)]),
    "mae-b": ("mae-b", None, []),
    "mae-h": ("mae-h", None, []),
    "dino-b": ("dino-b", None, []),
}
# way -> seconds that one run of it adds to an idle machine's benchmark at small size, roughly, by which it is skipped
LIBRARY_WAYS = {BASE: 8, "torch bf16 channels-last": 8, "torch.compile": 90, "plain ONNX": 40}
OUR_WAYS = {
    "ours fp32": ("fp32", "auto"),
    "ours fp32, OpenVINO": ("fp32", "openvino"),
    "ours fp16": ("fp16", "auto"),
    "ours bf16": ("bf16", "auto"),
    "ours int8": ("int8", "auto"),
}
SMALL_WAYS = {*LIBRARY_WAYS, "ours fp32", "ours bf16"}
MOST_SECONDS = 60  # of a small case
TIMEOUT = 1800.0
# (group, way) -> (least ratio to BASE, least dB): what is promised at full size on an idle machine
PROMISES = {
    **{(group, "ours bf16"): (2.0, 45.0) for group in ("sd2 480x640", "mae-b", "mae-h")},
    **{(group, "ours int8"): (3.5, 35.0) for group in ("sd2 480x640", "mae-b", "mae-h")},
    ("sd2 480x640, light VAE", "ours bf16"): (10.0, 45.0),  # against torch with the full VAE
}
BASE_GROUP = {"sd2 480x640, light VAE": "sd2 480x640"}


class Bench:
    """The bundles, and the rows measured so far."""

    def __init__(self, folder: Path, full: bool) -> None:
        self.folder, self.full = folder, full
        self.kept = folder / f"rows{'' if full else '-small'}.json"
        self.rows = read_rows(self.kept)
        self._run = datetime.now(UTC).isoformat(timespec="seconds")

    def add(self, row: Row) -> None:
        """Put a row in its place, and keep it for later runs."""
        new = replace(row, run=self._run)
        found = {(old.group, old.way): old for old in self.rows} | {(row.group, row.way): new}
        order = [(group, way) for group in GROUPS for way in (*LIBRARY_WAYS, *OUR_WAYS)]
        self.rows = [found[key] for key in order if key in found]
        write_rows(self.kept, self.rows)

    def bundle(self, group: str, precision: str) -> Path:
        """Exported on first use.

        Raises:
            ExportError: the exporter refuses it.
        """
        backbone, vae, sizes = GROUPS[group]
        path = self.folder / f"{backbone}{'-' + vae if vae else ''}-{precision}"
        if not path.is_dir():
            export_bundle(
                path,
                backbone=backbone,
                random_weights=True,
                architecture=None if self.full else SMALL[backbone],
                vae=vae,
                precision=precision,
                targets=("onnx", "openvino") if precision in ("bf16", "int8") else ("onnx",),
                sizes=sizes,
                max_images=1,
                force=not self.full,  # a small random network is no measure of accuracy
            )
        return path

    def measure(self, group: str, way: str) -> Row:
        backbone, vae, _ = GROUPS[group]
        ours, base = OUR_WAYS.get(way), self._colors(group, BASE)
        try:
            job = {
                "way": "ours" if ours else way,
                "bundle": str(self.bundle(group, ours[0] if ours else "fp32")),
                "backend": ours[1] if ours else "",
                "backbone": backbone,
                "architecture": None if self.full else SMALL[backbone],
                "vae": vae,
                "colors": str(self._colors(group, way)),
            }
            found = measure_way(job, TIMEOUT)
        except (ExportError, RuntimeError) as error:
            return Row(group, way, None, note=" ".join(str(error).split())[-200:])
        psnr = None
        if way != BASE and base.is_file():
            psnr = difference(np.load(self._colors(group, way)), np.load(base), 255.0).psnr
        return Row(group, way, found, psnr)

    def _colors(self, group: str, way: str) -> Path:
        return self.folder / f"{group}-{way}.npy".replace(" ", "_").replace(",", "")


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    kept = request.config.getoption("--bundles")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("bundles")
    folder.mkdir(parents=True, exist_ok=True)
    made = Bench(folder, bool(request.config.getoption("--full")))
    with pytest.MonkeyPatch.context() as patch:
        if not made.full:
            patch.delenv("GEN2SEG_DATA", raising=False)
        yield made
    if not made.rows:
        return
    machine = ", ".join(f"{key} {value}" for key, value in machine_description().items())
    size = "full size" if made.full else "small architectures, which say nothing about the real ones"
    text = markdown(made.rows, f"{machine}; random weights; {size}; a picture of 480x640")
    if made.full:
        text += "\n".join(["## Promises", "", *promises(made.rows), ""])
    reports = Path("reports")
    reports.mkdir(exist_ok=True)
    name = "export" if made.full else "export-small"
    (reports / f"{name}.md").write_text(text, encoding="utf-8")
    plot(made.rows, reports / f"{name}.png")
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{text}")


def promises(rows: list[Row]) -> Iterator[str]:
    """One line for each promise: what was found beside what was promised."""
    found = {(row.group, row.way): row for row in rows}
    for (group, way), (ratio, psnr) in PROMISES.items():
        row, base = found.get((group, way)), found.get((BASE_GROUP.get(group, group), BASE))
        times = None if row is None else times_as_fast(row, base)
        if row is None or times is None or row.psnr is None:
            yield f"- {group}, {way}: not measured beside {BASE}"
            continue
        kept = "kept" if times >= ratio and row.psnr >= psnr else "MISSED"
        yield f"- {group}, {way}: {times:.2f} times (promised {ratio:g}), {row.psnr:.1f} dB ({psnr:g}): {kept}"


@pytest.mark.benchmark(group="picture to colours")
@pytest.mark.parametrize("way", [*LIBRARY_WAYS, *OUR_WAYS])
@pytest.mark.parametrize("group", GROUPS)
def test_way(benchmark: Any, bench: Bench, group: str, way: str) -> None:
    if not bench.full and (
        GROUPS[group][0] not in SMALL
        or GROUPS[group][1]
        or way not in SMALL_WAYS
        or LIBRARY_WAYS.get(way, 0) > MOST_SECONDS
    ):
        bench.add(Row(group, way, None, note="only with --full"))
        pytest.skip("too long for the small run; with --full")
    row = benchmark.pedantic(bench.measure, (group, way), rounds=1, iterations=1)
    bench.add(row)
    if row.found is None:
        pytest.fail(row.note)
    benchmark.extra_info.update({**row.found, "psnr": row.psnr})
