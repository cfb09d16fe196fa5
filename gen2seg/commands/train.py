"""`gen2seg train`: hands over to gen2seg.training, which needs the extra `train`."""

import click

from gen2seg.errors import MissingExtraError

# The packages that the extra installs, by import name.
_EXTRA = {"torch", "accelerate", "safetensors", "tensorboard", "diffusers", "transformers", "timm"}
_EXTRA |= {"huggingface_hub", "h5py", "pycocotools"}


@click.command("train")
@click.argument("config", metavar="NAME_OR_PATH")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one value of the config.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the output folder.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be trained on what, and what is missing (exit code 1); train and fetch nothing.",
)
def command(config: str, overrides: tuple[str, ...], resume: bool, dry_run: bool) -> int:
    """Train a network from a configuration: a name that ships with the package, or a TOML file.

    \b
    Examples:
      gen2seg train tiny
      gen2seg train tiny --set steps=200 --set output=runs/try
      gen2seg train my.toml --resume
    """
    try:
        from gen2seg.training import cli_entry

        return cli_entry(config, list(overrides), resume, dry_run)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise
        raise MissingExtraError(f"training needs {error.name}: pip install 'gen2seg[train]'") from error
