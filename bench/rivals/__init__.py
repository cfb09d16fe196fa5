"""The algorithms to beat, written as published or as one would write them in PyTorch."""
