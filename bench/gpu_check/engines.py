"""`make gpu-check BUNDLE=DIR`: which layers of a bundle's TensorRT-RTX engines run wider than their graph plans.

The builder's log cannot tell what a layer became; the engine inspector can, and it needs a driver.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from bench.gpu_check.checks import Check
from gen2seg_export.targets.artifact import graph_digest
from gen2seg_runtime.machine import MACHINE

LIBRARIES = {"tensorrt_rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
NARROW: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
# How the inspector's texts spell a type: "Half", "Row major linear FP16 format", ...
_SPELLINGS = (
    ("bfloat16", r"BF(?:loat)?16"),
    ("float16", r"\bFP16|\bHalf\b|\bFloat16"),
    ("float32", r"FP32|\bFloat\b|Float32"),
)
_ONNX_NAME = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def check_bundle(folder: Path, load: Any = import_module) -> Iterator[Check]:
    """For each engine: how many of the graph's narrow products run in float32; it fails if none can be judged.

    Args:
        folder: a bundle with `engines/*.engine`, each with the JSON record of its build beside it.
        load: gives the library by its name; a fake's in tests.
    """
    for path in sorted((folder / "engines").glob("*.engine")):
        record = json.loads(path.with_suffix(".json").read_text())
        cards, sms = MACHINE.gpus(), record["made_from"].get("sms")
        if cards and sms and cards[0].capability not in sms:
            continue  # for other kinds of card than the one here
        graph = graph_of(folder, record["made_from"]["graph"])
        if graph is None:
            yield Check(f"{path.name}: graphs missing", 1, 0, "the graph that it was made from is not in the bundle")
            continue
        layers = read_layers(load(LIBRARIES[record["target"]]), path)
        planned = planned_products(graph)
        wide, unmatched = wider_than_planned(layers, planned)
        detail = f"{len(layers)} layers read"
        if unmatched:
            detail += f"; {len(unmatched)} products not found in the engine's names, thus not judged"
        yield Check(f"{path.name}: products wider than planned", len(wide), 0, "; ".join([detail, *wide]))
        narrow = {name for name, kind in planned.items() if kind != "float32"}
        if narrow and narrow <= set(unmatched):
            yield Check(f"{path.name}: narrow products judged", 1, 0, f"none of {len(narrow)}: no layer names any")


def read_layers(trt: Any, path: Path) -> list[dict[str, Any]]:
    """The engine inspector's record of every layer.

    Raises:
        ValueError: the library cannot load the engine, or the engine tells names only (it was not built with detailed
            profiling verbosity).
    """
    logger = trt.Logger(trt.Logger.ERROR)
    engine = trt.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ValueError(f"{path}: {trt.__name__} {trt.__version__} cannot load it on this card")
    inspector = engine.create_engine_inspector()
    layers = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"]
    if not all(isinstance(layer, dict) for layer in layers):
        raise ValueError(f"{path}: tells its layers' names only; build it with ProfilingVerbosity.DETAILED")
    return layers


def planned_products(graph: Path) -> dict[str, str]:
    """Name of each product node of a strongly typed graph -> the type it computes in."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load(graph, load_external_data=False)).graph
    types: dict[str, int] = {
        v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.output, *inferred.value_info)
    }
    return {
        node.name: NARROW.get(types.get(node.output[0], 0), "float32")
        for node in inferred.node
        if node.op_type in PRODUCTS
    }


def wider_than_planned(layers: list[dict[str, Any]], planned: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Layers that compute a narrow product in float32 (named with their types), and products that no layer names."""
    wide, seen = [], set()
    for layer in layers:
        names = onnx_names(layer) & set(planned)
        seen |= names
        narrow = sorted(name for name in names if planned[name] != "float32")
        found = layer_types(layer)
        if narrow and not found & set(NARROW.values()):
            wide.append(
                f"{', '.join(narrow)}: planned {planned[narrow[0]]}, runs {'/'.join(sorted(found)) or 'unknown'}"
            )
    return wide, sorted(set(planned) - seen)


def onnx_names(layer: Mapping[str, Any]) -> set[str]:
    """The graph's nodes in a layer, which may be fused of several."""
    names = set(_ONNX_NAME.findall(str(layer.get("Metadata", ""))))
    return names | {part.strip() for part in str(layer.get("Name", "")).split(" + ")}


def layer_types(layer: Mapping[str, Any]) -> set[str]:
    """Types of what goes into a layer and comes out: float16, bfloat16, float32."""
    ends = [*layer.get("Inputs", ()), *layer.get("Outputs", ())]
    texts = [str(end.get(key, "")) for end in ends for key in ("Format/Datatype", "Datatype", "Format")]
    return {name for text in texts for name, pattern in _SPELLINGS if re.search(pattern, text)}


def graph_of(folder: Path, digest: str) -> Path | None:
    """The ONNX file of the bundle with this digest over itself and its external data, in the order it names them."""
    for path in sorted(folder.rglob("*.onnx")):
        if graph_digest(path) == digest:
            return path
    return None
