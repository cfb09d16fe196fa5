"""Training configurations that ship with the package: `gen2seg train NAME`."""
