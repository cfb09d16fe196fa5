"""What the manifests of the vision transformers have in common."""

from collections.abc import Sequence

from gen2seg.backbones.vit_files import VitCheckpoint
from gen2seg_export.errors import ExportError
from gen2seg_runtime.manifest import WeightsInfo

NO_MEDICAL_USE = "Not a medical device: not for diagnosis, treatment decisions or the interpretation of results."


def check_sizes(sizes: Sequence[tuple[int, int]], side: int, backbone: str) -> None:
    """Raises ExportError for sizes that are asked for and are not the network's only one."""
    for height, width in sizes:
        if (height, width) != (side, side):
            raise ExportError(
                f"{backbone} takes pictures of {side}x{side} only (its positions are learnt for that size and every "
                f"picture is squashed to it), got height {height}, width {width}"
            )


def weights_info(checkpoint: VitCheckpoint, parameters: int) -> WeightsInfo:
    """Where the weights come from."""
    return WeightsInfo(
        state=checkpoint.state, source=checkpoint.description, sha256=checkpoint.sha256, parameters=parameters
    )
