"""Networks rewritten for what they are exported for: one step, one text, no gradients; exact algebra throughout.

Weights that stay as they are share their storage with the library's module.
"""
