"""How good a bundle is, measured zero-shot on real images beside rivals that need no weights.

`run.evaluate` is the entry point; nothing here imports torch, scikit-image or SciPy before it is needed.
"""
