"""`gen2seg inspect`: what a bundle holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gen2seg.commands.options import emit, json_option


@click.command("inspect")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@json_option
def command(bundle: Path | None, as_json: bool) -> int:
    """What a bundle holds, after checking the digest of every file; without BUNDLE the embedded model.

    \b
    Examples:
      gen2seg inspect
      gen2seg inspect build/my-bundle --json
    """
    from gen2seg_runtime import Bundle, default_bundle_path
    from gen2seg_runtime.manifest import record_to_dict

    opened = Bundle.open(bundle or default_bundle_path())
    manifest = record_to_dict(opened.manifest)
    document = {"path": str(opened.root), "id": opened.id, "manifest": manifest}
    weights = opened.manifest.weights
    headline = (
        f"{opened.manifest.name} {opened.manifest.version}: {weights.state.upper()} weights, "
        f"{weights.parameters:,} parameters"
    )
    if weights.state == "untrained":
        headline += "\nThe weights are random: its masks mean nothing."
    lines = [headline, f"path: {opened.root}", f"id: {opened.id}", *_lines(manifest)]
    emit(document, "\n".join(lines), as_json)
    return 0


def _lines(value: dict[str, Any], indent: str = "") -> Iterator[str]:
    """The document as indented `key: value` lines; lists of records one block an entry."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{indent}{key}:"
            yield from _lines(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            yield f"{indent}{key}:"
            for entry in item:
                yield f"{indent}  - " + ", ".join(f"{k}: {v}" for k, v in entry.items())
        elif isinstance(item, list):
            yield f"{indent}{key}: {', '.join(str(part) for part in item) or '-'}"
        else:
            yield f"{indent}{key}: {'-' if item is None or item in ('', {}) else item}"
