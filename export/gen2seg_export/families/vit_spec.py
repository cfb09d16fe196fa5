"""What the manifests of the vision transformers have in common."""

from collections.abc import Sequence

from gen2seg.backbones import Backbone
from gen2seg.backbones.vit_files import VitCheckpoint
from gen2seg.backbones.vit_images import ImageRule
from gen2seg_export.errors import ExportError
from gen2seg_runtime.manifest import InputSpec, InstanceSpec, OutputSpec, PadSpec, PromptSpec, ResizeSpec, WeightsInfo

NO_MEDICAL_USE = "Not a medical device: not for diagnosis, treatment decisions or the interpretation of results."


def input_spec(rule: ImageRule, patch: int) -> InputSpec:
    """Squashed to a square whatever the picture's shape, as the checkpoint's image processor does."""
    return InputSpec(
        scale=rule.scale,
        mean=rule.mean,
        std=rule.std,
        resize=ResizeSpec(rule="fixed", size=rule.side),
        pad=PadSpec(multiple=patch),
        dynamic=False,
        buckets=((rule.side, rule.side),),
    )


def check_sizes(sizes: Sequence[tuple[int, int]], side: int, backbone: str) -> None:
    """Raises ExportError for sizes that are asked for and are not the network's only one."""
    for height, width in sizes:
        if (height, width) != (side, side):
            raise ExportError(
                f"{backbone} takes pictures of {side}x{side} only (its positions are learnt for that size and every "
                f"picture is squashed to it), got height {height}, width {width}"
            )


def output_spec(backbone: Backbone) -> OutputSpec:
    """Raw colours, spread per picture."""
    return OutputSpec(normalization=backbone.normalization, range=None, gamma=backbone.gamma)


def prompt_spec(backbone: Backbone) -> PromptSpec:
    """The reference's prompting."""
    return PromptSpec(mode=backbone.prompt_mode, distance=backbone.defaults.distance)


def instance_spec(backbone: Backbone) -> InstanceSpec:
    """The backbone's own defaults."""
    own = backbone.defaults
    return InstanceSpec(distance=own.instance_distance, background=own.background, min_area=own.min_area)


def weights_info(checkpoint: VitCheckpoint, parameters: int) -> WeightsInfo:
    """Where the weights come from."""
    return WeightsInfo(
        state=checkpoint.state, source=checkpoint.description, sha256=checkpoint.sha256, parameters=parameters
    )
