"""`sd2`: Stable Diffusion 2 run for one step, from a picture to instance colours (gen2seg, arXiv 2505.15263).

    picture ── VAE encoder ──► z ── U-Net(z, t, empty text) ──► v ── scheduler ──► x0 ── VAE decoder ──► raw colours

The networks are diffusers' own. `load_sd2` reads a directory in the diffusers layout (or a hub id), `random_sd2`
builds the same with random weights, `Sd2Net` runs it, `save_sd2` writes it back for the original scripts.
"""

from .architecture import SD2, TAESD, Sd2Architecture
from .load import BASE_HUB_ID, GEN2SEG_HUB_ID, TAESD_HUB_ID, load_sd2, load_vae
from .net import Sd2Net
from .parts import Sd2Parts, Vae
from .random import random_sd2, random_vae
from .save import save_sd2
from .scheduler import OneStep, one_step

__all__ = [
    "BASE_HUB_ID",
    "GEN2SEG_HUB_ID",
    "SD2",
    "TAESD",
    "TAESD_HUB_ID",
    "OneStep",
    "Sd2Architecture",
    "Sd2Net",
    "Sd2Parts",
    "Vae",
    "load_sd2",
    "load_vae",
    "one_step",
    "random_sd2",
    "random_vae",
    "save_sd2",
]
