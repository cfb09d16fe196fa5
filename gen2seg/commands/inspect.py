"""`gen2seg inspect`: what a bundle holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gen2seg.commands.options import emit, json_option

if TYPE_CHECKING:
    from gen2seg_runtime import Bundle, Manifest
    from gen2seg_runtime.manifest import StageSpec


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
    emit(document, "\n".join([*_summary(opened), "", "manifest:", *_lines(manifest, "  ")]), as_json)
    return 0


def _summary(bundle: "Bundle") -> Iterator[str]:
    """What most people want to know, in a dozen lines."""
    manifest = bundle.manifest
    weights, licence = manifest.weights, manifest.licence
    yield f"{manifest.name} {manifest.version}: {weights.state.upper()} weights, {weights.parameters:,} parameters"
    if weights.state == "untrained":
        yield "The weights are untrained: its masks mean nothing."
    yield f"path: {bundle.root}"
    yield f"id: {bundle.id}"
    yield f"weights: {weights.source}"
    yield f"licence: code {licence.code}, weights {licence.weights}"
    yield from (f"use limit: {limit}" for limit in licence.use_limits)
    yield f"pictures: {_sizes(manifest)}"
    for stage in manifest.chain:
        yield from _stage(bundle, stage)
    yield from _cost(manifest.resources.get("cost", {}))
    yield from _verification(manifest.verification)


def _sizes(manifest: "Manifest") -> str:
    rule, buckets = manifest.input.resize, ", ".join(f"{h}x{w}" for h, w in manifest.input.buckets)
    if rule.rule == "fit":
        return f"fitted into {buckets} (height x width)"
    if rule.rule == "fixed":
        return f"squashed to {buckets} (height x width)"
    return f"any size; the longer side becomes at most {rule.size}, at least {rule.enlarge_below}"


def _stage(bundle: "Bundle", stage: "StageSpec") -> Iterator[str]:
    precision = stage.precision
    records = [r for r in bundle.manifest.files if r.path == stage.path or r.path.startswith(f"{stage.path}.")]
    wide = f", {len(precision.wide_nodes)} nodes wide" if precision.wide_nodes else ""
    preferred = f", best in {stage.backend}" if stage.backend else ""
    yield (
        f"stage {stage.name}: {stage.path}, {sum(record.bytes for record in records):,} bytes, weights "
        f"{precision.weights}, computes in {precision.compute}{wide}{preferred}"
    )
    if precision.plan.get("wide"):
        yield "  wide: " + ", ".join(f"{count} by {reason}" for reason, count in precision.plan["wide"].items())
    for backend, paths in stage.artifacts.items():
        facts = stage.facts.get(backend, {})
        size = sum(bundle.manifest.file(path).bytes for path in paths)
        kind = f", {facts['precision']}" if "precision" in facts else ""
        key = f", key {str(facts['key'])[:16]}" if "key" in facts else ""
        yield f"  {backend}: {', '.join(paths)}, {size:,} bytes{kind}{key}"


def _cost(cost: Mapping[str, Any]) -> Iterator[str]:
    for side, what in (("before", "the libraries' networks"), ("after", "this bundle's networks")):
        if side in cost:
            record = cost[side]
            yield (
                f"cost {side}: {what}, {record['parameters']:,} parameters, {record['bytes']:,} bytes as float32, "
                f"{record['flops'] / 1e9:,.1f} GFLOP at {record['size'][0]}x{record['size'][1]}"
            )


def _verification(found: Mapping[str, Any]) -> Iterator[str]:
    if not found:
        yield "verification: none was recorded"
        return
    forced = ", WRITTEN BY FORCE" if found.get("forced") else ""
    yield f"verification: {'passed' if found.get('passed') else 'FAILED'}{forced}"
    for report in (found, *found.get("others", [])):
        colors = report.get("summary", {}).get("colors")
        if isinstance(colors, Mapping):
            yield f"  {report.get('backend')}: colour PSNR {colors['psnr']} dB, mean difference {colors['mean']}, worst"
        for name, figures in report.get("summary", {}).get("stages", {}).items():
            yield f"    stage {name}: relative {figures['relative']}, PSNR {figures['psnr']} dB, worst"
    control = found.get("negative_control", {})
    if control:
        seen = "were seen" if control["passed"] else "WENT UNSEEN"
        noise = control.get("strengths") or [None] * len(control["perturbed"])
        faults = (
            name if strength is None else f"{name} by {strength:g} deviations"
            for name, strength in zip(control["perturbed"], noise, strict=True)
        )
        yield f"  planted faults {seen}: {', '.join(faults)}"
    yield from (f"  failed: {failure}" for failure in found.get("failures", []))


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
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
