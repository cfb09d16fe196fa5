"""Bundles that ship with the package: one folder each, opened by `Segmenter.open()`."""
