"""SimpleClick (Liu et al. 2023, arXiv 2210.11006), a rival trained on the same data: own implementation on timm.

model.py is the network, clicks.py draws clicks and the loss of a training step, files.py is the folder it is kept in.
"""
