"""What the exporter must know of a backbone beside its network: names and terms."""

from dataclasses import dataclass

from gen2seg_export.errors import UnsupportedBackboneError

TINY_USE_LIMITS = (
    "Not a medical device: not for diagnosis, treatment decisions or the interpretation of results.",
    "Not for safety-critical use without your own validation on your own data.",
)


@dataclass(frozen=True)
class ExportSpec:
    """What the manifest of one backbone's bundle says beyond the backbone's own record."""

    bundle_name: str
    licence: str  # of the weights, when they are this project's own
    attribution: str
    use_limits: tuple[str, ...]


EXPORT_SPECS = {
    "tiny": ExportSpec(
        bundle_name="gen2seg-tiny",
        licence="Apache-2.0",
        attribution=(
            "Trained from scratch by the gen2seg project on procedurally generated scenes; "
            "no third-party weights or pictures."
        ),
        use_limits=TINY_USE_LIMITS,
    ),
}


def get_export_spec(name: str) -> ExportSpec:
    """Look up a backbone.

    Raises:
        UnsupportedBackboneError: this version cannot export it.
    """
    if name not in EXPORT_SPECS:
        raise UnsupportedBackboneError(
            f"backbone {name!r} is not available in this version; known: {', '.join(sorted(EXPORT_SPECS))}"
        )
    return EXPORT_SPECS[name]
