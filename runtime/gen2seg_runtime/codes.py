"""The codes of what keeps a bundle from running, or is worth knowing before it does; docs/error-codes.md explains each.

E: keeps a backend from running. W: does not, but the user should know.
"""

CODES = {
    "G2S-E001": "no readable bundle",
    "G2S-E002": "a file of the bundle is missing or not the one it lists",
    "G2S-E010": "library not installed",
    "G2S-E011": "onnxruntime and onnxruntime-gpu shadow each other",
    "G2S-E012": "nothing made for this backend",
    "G2S-E013": "engine of another library version",
    "G2S-E014": "engine for another GPU",
    "G2S-E015": "no NVIDIA GPU",
    "G2S-E016": "driver too old",
    "G2S-E017": "not enough GPU memory",
    "G2S-E018": "not enough memory",
    "G2S-E019": "number format not supported",
    "G2S-E020": "weights in a file that OpenVINO would read unchecked",
    "G2S-E021": "execution provider not in this ONNX Runtime",
    "G2S-E022": "library does not load",
    "G2S-W101": "untrained weights",
    "G2S-W102": "licence limits",
    "G2S-W103": "two ONNX Runtimes installed",
    "G2S-W104": "bfloat16 is emulated",
    "G2S-W105": "no compiled prompting for this GPU",
    "G2S-W106": "engine built on another GPU",
    "G2S-W107": "not run on hardware",
}
DOCS = "docs/error-codes.md"


def anchor(code: str) -> str:
    """Where the documentation explains a code."""
    return f"{DOCS}#{code.lower()}"
