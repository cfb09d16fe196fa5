"""Does an engine carry the formats of its graph? What can be told of it without a card.

Three witnesses: the parsed network's products by format, the weight bytes that the builder's log reports, and
the size of the engine file. A builder that silently falls back to float32 doubles the second and third.
`make gpu-check` reads the realised layer types on a card.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from gen2seg_export.precision.graph import PRODUCTS
from gen2seg_export.targets.errors import EngineCheckError

_FORMATS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
# Seen: at most 4 % above the weights of the graph (padding), and 7 MB of code for four kinds of card.
WEIGHT_FACTOR = 1.15
CODE_BYTES = 24_000_000
_WEIGHTS_LINE = re.compile(r"Total Weights Memory: (\d+) bytes")


def graph_formats(path: Path) -> tuple[dict[str, int], int]:
    """Products of the graph by the format they compute in, and the bytes of its stored weights.

    Weights that are stored as float16 and cast to float32 count as they are stored: an engine of such a graph
    is wide, and `check_engine` refuses it.
    """
    model = onnx.load(path, load_external_data=False)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.output, *inferred.value_info)}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            products[_FORMATS.get(types[node.output[0]], "other")] += 1
    weights = sum(
        int(np.prod(tensor.dims)) * (4 if tensor.data_type == TensorProto.FLOAT else 2)
        for tensor in model.graph.initializer
        if tensor.data_type in _FORMATS
    )
    return dict(products), weights


def check_engine(graph: Path, engine: Path, log: str, result: dict[str, Any]) -> dict[str, Any]:
    """Compare an engine with its graph.

    Args:
        graph: the strongly typed ONNX file.
        engine: the engine file.
        log: the builder's log.
        result: what `engine_build.build_engine` returned.
    Returns:
        The figures, for the manifest.
    Raises:
        EngineCheckError: a witness disagrees or is missing.
    """
    products, weights = graph_formats(graph)
    size = engine.stat().st_size
    found = _WEIGHTS_LINE.findall(log)
    figures = {
        "products_in_graph": products,
        "products_in_network": result["products"],
        "weight_bytes_in_graph": weights,
        "weight_bytes_in_engine": sum(map(int, found)),
        "engine_bytes": size,
    }
    problems = []
    if not result["flags"]["strongly_typed"]:
        problems.append("the network is not strongly typed")
    for name in ("float16", "bfloat16"):
        if result["products"].get(name, 0) < products.get(name, 0):
            problems.append(
                f"{products[name]} products of the graph compute in {name}, "
                f"{result['products'].get(name, 0)} of the network do"
            )
    if result["products"].get("float32", 0) > products.get("float32", 0):
        problems.append(
            f"{result['products']['float32']} products of the network compute in float32, "
            f"{products.get('float32', 0)} of the graph do"
        )
    if not found:
        problems.append("the builder's log does not tell the weights' memory")
    elif figures["weight_bytes_in_engine"] > WEIGHT_FACTOR * weights + CODE_BYTES // 100:
        problems.append(f"its weights take {figures['weight_bytes_in_engine']:,} bytes, the graph's {weights:,}")
    if size > WEIGHT_FACTOR * weights + CODE_BYTES:
        problems.append(f"the file has {size:,} bytes for {weights:,} bytes of weights")
    if problems:
        raise EngineCheckError(f"{engine.name}: not the engine that {graph.name} asks for: {'; '.join(problems)}")
    return figures
