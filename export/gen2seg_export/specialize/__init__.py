"""Backbones rewritten for one step and one picture size: the same function, without what is constant."""
