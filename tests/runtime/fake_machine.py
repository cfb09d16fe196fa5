"""A machine of any kind, for tests of what depends on one: `FakeProbes(gpus=[...], modules={...})`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gen2seg_runtime.cuda_probe import Gpu
from gen2seg_runtime.machine import Memory

GIB = 1 << 30
RTX_3060 = Gpu("RTX 3060", 86, 12 * GIB)


@dataclass
class FakeProbes:
    """`Probes` that say what they were told; by default two cores' worth of memory and ONNX Runtime, no GPU."""

    modules: Iterable[str] = ("onnxruntime",)
    versions: Mapping[str, str] = field(default_factory=lambda: {"onnxruntime": "1.32.0"})
    broken: Mapping[str, str] = field(default_factory=dict)  # module -> why it does not load
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    cards: Sequence[Gpu] = ()
    cuda: int | None = None
    driver: str | None = None
    features: frozenset[str] = frozenset({"avx2"})
    ram: Memory = field(default_factory=lambda: Memory(16 * GIB, 8 * GIB))

    def installed(self, module):
        return module in self.modules

    def version(self, distribution):
        return self.versions.get(distribution)

    def load_error(self, module):
        return self.broken.get(module)

    def onnx_providers(self):
        return self.providers

    def gpus(self):
        return tuple(self.cards)

    def cuda_version(self):
        return self.cuda

    def driver_version(self):
        return self.driver

    def cpu_features(self):
        return self.features

    def cpu_name(self):
        return "a processor"

    def memory(self):
        return self.ram


def rtx_machine(version="1.7.1.116", cards: Sequence[Gpu] = (RTX_3060,), cuda: int | None = 13000, **others):
    """A machine that runs TensorRT-RTX engines of that version."""
    return FakeProbes(
        modules=("onnxruntime", "tensorrt_rtx", "cuda.bindings"),
        versions={"onnxruntime": "1.32.0", "tensorrt-rtx-cu13": version, "cuda-bindings": "13.4.4"},
        cards=cards,
        cuda=cuda,
        driver="580.65",
        **others,
    )
