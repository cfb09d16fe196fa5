"""The Python blocks of the runtime's pages run as they stand, one after the other."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg.data.scenes import render_scene
from gen2seg_runtime.stream.video import write_video

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["formats.md", "streams.md"])
def test_code_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    picture, _ = render_scene(1, 128)
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    with write_video(tmp_path / "clip.avi", 10) as writer:
        for shift in range(3):
            writer.add(np.roll(picture, 4 * shift, axis=1))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out
