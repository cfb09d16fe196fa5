"""Read the graph, quantize it if asked, write the IR; runs in the child process."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from gen2seg_export.precision.graph import ends, open_graph
from gen2seg_export.targets.child import Tell
from gen2seg_export.targets.errors import Int8RefusedError, TargetError, TargetUnavailableError
from gen2seg_export.targets.stopwatch import compare, outputs, worst_psnr
from gen2seg_export.targets.widening import widen_until_near

# Half the range stays with the activations, as SmoothQuant (arXiv 2211.10438) has it. NNCF's own 0.95 leaves nearly all
# of it with the weights: that cost a ViT-B 2 to 7 dB (docs/precision.md). No other values were tried.
SMOOTHING = 0.5


def build_ir(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """See `gen2seg_export.targets.openvino.build`."""
    tell("reading the graph")
    core = openvino.Core()
    try:
        model = core.read_model(job["graph"])
        if len(job["shapes"]) == 1:
            model.reshape({model.input(0): job["shapes"][0]})
    except RuntimeError as error:
        raise TargetError(f"{Path(job['graph']).name}: OpenVINO refuses the graph: {_first_line(error)}") from error
    result: dict[str, Any] = {"figures": {}, "notes": []}
    if job["precision"] == "int8":
        model, facts = _quantized(core, model, job, tell)
        result |= facts
    else:
        # The graph names its formats itself and OpenVINO keeps them; a narrower hint would round the wide nodes.
        result["inference_precision"] = "f32"
    tell("writing")
    # Without this flag the weights of a float32 network would be rounded to float16, silently.
    openvino.save_model(model, job["xml"], compress_to_fp16=bool(job["compress"]) or job["precision"] == "int8")
    return result


def _quantized(
    core: openvino.Core, model: openvino.Model, job: dict[str, Any], tell: Tell
) -> tuple[openvino.Model, dict[str, Any]]:
    """Static int8: weights by channel, activations calibrated, the ends and `wide_nodes` left as they are."""
    try:
        import nncf
    except ImportError as error:
        raise TargetUnavailableError("int8 needs nncf: pip install 'gen2seg[export]'") from error
    samples = [np.load(path, allow_pickle=False) for path in job["calibration"]]
    # One picture may be easy: of many, two are held out.
    held = 2 if len(samples) >= 6 else 1
    held_out, calibration = samples[:held], samples[held:]
    graph = open_graph(Path(job["graph"]))
    ignored = _ignored(model, ends(graph) | set(job["wide_nodes"]))
    transformer = any(node.op_type == "LayerNormalization" for node in graph.nodes)

    def quantize(wide: Sequence[str]) -> openvino.Model:
        return nncf.quantize(
            model,
            nncf.Dataset(calibration),
            subset_size=len(calibration),
            # Activations behind SiLU and GELU are lopsided: asymmetric ranges lose less of them.
            preset=nncf.QuantizationPreset.MIXED,
            # For a transformer NNCF evens out the channels first, moving range from activations into weights by
            # `SMOOTHING`; a convolutional network would only get slower.
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=[*ignored, *wide], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
            ),
        )

    def compared(quantized: openvino.Model) -> dict[str, Any]:
        return {**compare(core, model, quantized, held_out, job["threads"]), "min_psnr": job["min_psnr"]}

    tell(f"quantizing on {len(calibration)} inputs, {len(ignored)} nodes left wide")
    quantized = quantize(())
    tell("comparing with the float network")
    figures = compared(quantized)
    products = _products(model, ignored)
    if figures["psnr"] < job["min_psnr"] and figures["int8_ms"] < figures["float_ms"] and len(products) > 1:
        hint, threads = figures["int8_precision"], job["threads"]
        expected = outputs(core, model, "f32", held_out, threads)
        quality = lambda network: worst_psnr(expected, outputs(core, network, hint, held_out, threads))  # noqa: E731
        quantized, figures = widen_until_near(products, quantize, quality, compared, job["min_psnr"], tell)
    _gate(figures, Path(job["graph"]).name)
    note = (
        f"int8: {figures['float_ms'] / figures['int8_ms']:.2f} times as fast as the best float form here "
        f"({figures['float_precision']}), PSNR {figures['psnr']:.1f} dB"
    )
    if figures.get("wide_products"):
        note += f", with the {figures['wide_products']} most sensitive of {len(products)} products left float"
    facts = {"figures": figures, "notes": [note], "nncf": nncf.__version__}
    return quantized, {**facts, "inference_precision": figures["int8_precision"]}


def _gate(figures: dict[str, Any], name: str) -> None:
    if not figures["psnr"] >= figures["min_psnr"]:
        raise Int8RefusedError(
            f"{name}: int8 is not offered: PSNR {figures['psnr']:.1f} dB, at least {figures['min_psnr']:g} is required",
            figures,
        )
    if figures["int8_ms"] >= figures["float_ms"]:
        raise Int8RefusedError(
            f"{name}: int8 is not offered: it takes {figures['int8_ms']:.1f} ms here, "
            f"{figures['float_precision']} {figures['float_ms']:.1f} ms",
            figures,
        )


def _ignored(model: openvino.Model, onnx_names: set[str]) -> list[str]:
    """OpenVINO's names of the products and sums that came from these ONNX nodes."""
    found = []
    for op in model.get_ops():
        name = op.get_friendly_name()
        if re.sub("/WithoutBiases$", "", name) in onnx_names and op.get_type_name() != "Constant":
            found.append(name)
    return found


def _products(model: openvino.Model, ignored: Sequence[str]) -> list[str]:
    """OpenVINO's names of the products that may be quantized, in their order."""
    kinds = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
    named = {op.get_friendly_name(): op.get_type_name() for op in model.get_ordered_ops()}
    return [name for name, kind in named.items() if kind in kinds and name not in ignored]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[-2:])[:500]
