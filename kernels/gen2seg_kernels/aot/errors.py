"""What can go wrong between a Triton kernel and its launch; each error names what came and what was expected."""


class KernelBuildError(ValueError):
    """A kernel cannot be compiled ahead of time, or is left out of what is."""


class KernelOutputError(OSError):
    """A compiled kernel or its contract cannot be written."""


class ContractError(ValueError):
    """kernels.json is not a launch contract of this version, or a kernel is not in it."""


class CubinIntegrityError(ContractError):
    """A compiled file is not the one that its contract describes."""


class NoCubinError(ContractError):
    """Nothing was compiled that this GPU can run."""


class LaunchError(ValueError):
    """The arguments of a launch do not fit its contract."""


class DriverError(OSError):
    """The CUDA driver is missing or refused a call."""
