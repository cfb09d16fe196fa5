"""What this project says of weights beyond the hub's layouts: whether they were ever trained, where they are from."""

from pathlib import Path

from gen2seg.backbones.hub import read_config
from gen2seg.errors import LayoutError

RECORD_FILE = "gen2seg.json"
STATES = ("trained", "untrained")
SEED = 20250  # of random weights


def read_state(folder: Path) -> str:
    """ "trained" or "untrained", as `gen2seg.json` says; without that file weights are taken for trained ones.

    Raises:
        LayoutError: it says something else.
    """
    if not (folder / RECORD_FILE).is_file():
        return "trained"
    state = read_config(folder, RECORD_FILE).get("state")
    if state not in STATES:
        raise LayoutError(f"{folder / RECORD_FILE}: state must be {' or '.join(STATES)}, got {state!r}")
    return state


def describe_source(source: str | Path, folder: Path, state: str, kind: str) -> str:
    """Free text for a manifest: the hub id, or what kind of folder it was; never a path."""
    if state == "untrained":
        return "a checkpoint that records no training"
    return kind if folder == Path(source).expanduser() else f"{source} (hub)"


def describe_random(seed: int) -> str:
    """Free text for a manifest."""
    return f"random weights, seed {seed}: for latency only, the colours mean nothing"
