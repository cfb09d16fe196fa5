"""The instance colouring loss: `reference.py` defines it, `autograd.py` trains with it."""
