"""Training: configuration in, checkpoint out. torch is imported when a run begins, not before."""


def cli_entry(name: str, overrides: list[str], resume: bool, dry_run: bool) -> int:
    """What `gen2seg train` does; returns the process's exit code."""
    from gen2seg.config import load_config

    config = load_config(name, overrides)
    if dry_run:
        from .plan import describe

        plan = describe(config)
        print(plan)
        return 1 if plan.missing else 0
    from accelerate import PartialState

    from .run import train

    weights = train(config, resume)
    if PartialState().is_main_process:
        print(weights)
    return 0
