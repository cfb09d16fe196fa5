"""NVIDIA GPUs without PyTorch: memory, streams and graphs (`device.py`, `cuda.py`), and prompting (`prompt.py`)."""
