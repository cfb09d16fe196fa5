"""Where the systems that PyTorch runs do so."""

import re

from gen2seg.errors import MissingExtraError
from gen2seg_runtime.errors import Gen2SegError


class DeviceError(Gen2SegError, ValueError):
    """A device that is not there."""


def device_of(name: str) -> str:
    """The same name, once the device is known to be there; on "cpu" PyTorch then takes one thread, as images run side
    by side.

    Args:
        name: "cpu", "cuda" or "cuda:1".
    Raises:
        MissingExtraError: PyTorch is not installed.
        DeviceError: another name, or PyTorch sees no such device.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"a device needs {error.name}: pip install 'gen2seg[train]'") from error
    if name == "cpu":
        torch.set_num_threads(1)
        return name
    found = re.fullmatch(r"cuda(?::(\d+))?", name)
    if found is None:
        raise DeviceError(f"device must be cpu, cuda or cuda:NUMBER, got {name!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(found[1] or 0) >= count:
        raise DeviceError(f"device {name!r} is not there: PyTorch {torch.__version__} sees {count} CUDA devices")
    return name
