"""Run gen2seg models: a picture in, masks, instances and edges out, without any training library.

Importing this package imports nothing heavy; each name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen2seg_runtime.bundle import Bundle, default_bundle_path
    from gen2seg_runtime.encoding import Encoding
    from gen2seg_runtime.errors import Gen2SegError
    from gen2seg_runtime.images import read_image
    from gen2seg_runtime.instances import InstanceRecord, Instances
    from gen2seg_runtime.manifest import Manifest
    from gen2seg_runtime.segmenter import Segmenter

_HOME = {
    "Bundle": "bundle",
    "Encoding": "encoding",
    "Gen2SegError": "errors",
    "InstanceRecord": "instances",
    "Instances": "instances",
    "Manifest": "manifest",
    "Segmenter": "segmenter",
    "default_bundle_path": "bundle",
    "read_image": "images",
}

__all__ = [
    "Bundle",
    "Encoding",
    "Gen2SegError",
    "InstanceRecord",
    "Instances",
    "Manifest",
    "Segmenter",
    "default_bundle_path",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
