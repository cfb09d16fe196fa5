"""`make gpu-check`: what this version runs on an NVIDIA GPU, proven on one, or said to be unproven.

The checks take a device and work on tensors, so that tests run them in Triton's interpreter; what only a card can
answer (times, compiled files, engines) goes through small seams that tests replace by fakes.
"""
