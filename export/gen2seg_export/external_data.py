"""Weights that lie in a file of their own beside the graph."""

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data


def data_name(path: Path) -> str:
    """The name of the file beside the graph `path` that holds its weights, where they are large."""
    return f"{path.name}.data"


def external_files(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the files that the graph keeps weights in, each once, in the order in which it names them."""
    names = (ExternalDataInfo(t).location for t in model.graph.initializer if uses_external_data(t))
    return tuple(dict.fromkeys(names))
