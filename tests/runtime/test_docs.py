"""Every code block of the documentation runs as it stands, or says why not; every link leads somewhere."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen2seg.data.scenes import render_scene
from gen2seg_runtime import default_bundle_path
from gen2seg_runtime.stream.video import write_video

from .doc_blocks import ROOT, BlockError, commands, find_blocks, run_page

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
# Pages whose blocks run at least so often: a page must not turn into one that runs nothing unnoticed.
RUN = {
    "README.md": 6,
    "quick-start.md": 6,
    "embedding.md": 8,
    "bundle-format.md": 3,
    "formats.md": 3,
    "instances.md": 2,
    "streams.md": 4,
}


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: a photograph, a folder of them, films, a bundle."""
    folder = tmp_path_factory.mktemp("materials")
    picture = render_scene(1, 320)[0][:240]
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.png"):
        Image.fromarray(picture).save(folder / name)
    for name in ("clip.avi", "clip.mp4"):
        with write_video(folder / name, 10) as writer:
            for shift in range(3):
                writer.add(np.roll(picture, 4 * shift, axis=1))
    shutil.copytree(default_bundle_path(), folder / "build" / "my-bundle")
    return folder


@pytest.fixture
def workplace(materials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the materials to work in: pages write into it, and damage it."""
    shutil.copytree(materials, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, workplace: Path) -> None:
    assert run_page(page) >= RUN.get(page.name, 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(path), f"{page.name}: {target}"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS if page.name != "index.md" and f"({page.name})" not in index] == []


def _anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("    gen2seg inspect nowhere\n", "exit code 2"),
        ("```\ngen2seg segment photo.jpg --pint 1,2\n```\n", "'--pint' is no option of gen2seg segment"),
        ("```\nrm -rf everything\n```\n", "nothing says why"),
        ("<!-- not run: why not -->\n\nWords between.\n\n    mytool\n", "nothing says why"),
        ("<!-- not run: a GPU -->\n```python\nimport no_such_module\n```\n", "ModuleNotFoundError"),
        ("    pip install '.[nonsense]'\n", "'nonsense' is no extra"),
        ("    make nothing\n", "'nothing' is no target of make"),
        ("    python -m no_such_module\n", "no module no_such_module"),
        ('```json\n{"schema": "gen2seg.bundle/1.1"}\n```\n', "missing"),
        ("```rust\nfn main() {}\n```\n", "nothing here runs 'rust'"),
    ],
)
def test_a_wrong_block_is_found(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(BlockError, match=re.escape(message)):
        run_page(tmp_path / "page.md")


def test_blocks_and_commands() -> None:
    page = (
        "Text\n\n    first one  # why\n\n    second && third\n\n<!-- not run: slow -->\n"
        "```python\nx = 1\n```\n- a list\n    goes on\n"
    )
    blocks = find_blocks(page)
    assert [(block.line, block.language, block.reason) for block in blocks] == [
        (3, "console", ""),
        (9, "python", "slow"),
    ]
    assert list(commands(blocks[0].text)) == ["first one", "second", "third"]
