"""TensorRT: an engine for the card of this machine, or the command that builds it on the device."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen2seg_export.targets.artifact import Artifact
from gen2seg_export.targets.engine import local_card, make_engines
from gen2seg_export.targets.engine_build import load_library
from gen2seg_export.targets.errors import TargetUnavailableError
from gen2seg_runtime.files import atomic_write


def build(
    graph: Path, out_dir: Path, *, stage: str, shapes: Sequence[Sequence[int]], precision: str, **options: Any
) -> Artifact:
    """Build with the library where it is; elsewhere leave the `trtexec` line for the device and raise.

    Raises:
        TargetUnavailableError: the library cannot be loaded, or there is no card here to build for; its `command`
            builds the engine on the device and lies in `<stage>.trtexec.sh` where the engine would be (`paths`).
        TargetError, EngineCheckError: see `engine.make_engines`.
    """
    try:
        load_library("tensorrt")
        local_card("tensorrt")
    except TargetUnavailableError as error:
        command = trtexec_command(graph, stage, shapes)
        out_dir.mkdir(exist_ok=True)
        script = out_dir / f"{stage}.trtexec.sh"
        with atomic_write(script) as file:
            file.write(f"#!/bin/sh\n# Run on the device, in the folder of {graph.name}.\nset -e\n{command}\n".encode())
        message = f"{error}; on a device that has TensorRT 10 or 11 run, in the folder of {graph.name}: {command}"
        raise TargetUnavailableError(message, command, (script,)) from error
    return make_engines(
        "tensorrt", graph, out_dir, stage=stage, shapes=shapes, precision=precision, groups=[()], **options
    )


def trtexec_command(graph: Path, stage: str, shapes: Sequence[Sequence[int]]) -> str:
    """The `trtexec` call that builds what `build` would, to be run in the graph's own folder.

    TensorRT 11 types every network strongly and takes `--stronglyTyped` without effect; TensorRT 10 needs it.
    """
    name = _input_name(graph)
    words = ["trtexec", f"--onnx={graph.name}", "--stronglyTyped", "--noTF32", f"--saveEngine={stage}.tensorrt.engine"]
    if _has_free_sizes(graph):
        for number, shape in enumerate(shapes):
            size = "x".join(map(str, shape))
            words += [f"--profile={number}"] if len(shapes) > 1 else []
            words += [f"--{bound}Shapes={name}:{size}" for bound in ("min", "opt", "max")]
    return shlex.join([*words, "--profilingVerbosity=detailed", "--skipInference"])


def _input(graph: Path) -> Any:
    import onnx

    return onnx.load(graph, load_external_data=False).graph.input[0]


def _input_name(graph: Path) -> str:
    return _input(graph).name


def _has_free_sizes(graph: Path) -> bool:
    return any(not dim.HasField("dim_value") for dim in _input(graph).type.tensor_type.shape.dim)
