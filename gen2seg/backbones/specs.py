"""What a backbone's bundle says of pictures, colours, prompts and instances; checkpoints are judged by the same."""

from gen2seg.backbones import Backbone
from gen2seg.backbones.vit_images import ImageRule
from gen2seg_runtime.manifest import InputSpec, InstanceSpec, OutputSpec, PadSpec, PromptSpec, ResizeSpec


def square_input_spec(rule: ImageRule, patch: int) -> InputSpec:
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
