"""Triton kernels compiled ahead of time, and what a process without Triton or PyTorch needs to launch them.

`python -m gen2seg_kernels.aot --all -o DIR` compiles every kernel for every architecture. `gen2seg_kernels.launch`
runs the result. `contract.py`, `grid.py`, `architectures.py` and `errors.py` need neither Triton nor PyTorch.
"""
