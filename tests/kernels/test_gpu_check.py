"""`make gpu-check` without a card: its parts with FAKE timers and a FAKE engine library; nothing runs on a GPU."""

import hashlib
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from bench.gpu_check import __main__ as command  # noqa: E402
from bench.gpu_check import engines, loss_parity, prompt_parity, timing, tuning  # noqa: E402
from bench.gpu_check.checks import Check, report  # noqa: E402
from bench.gpu_check.device import Card, bandwidth_line, this_card  # noqa: E402
from gen2seg_kernels.loss import eager, tiles  # noqa: E402
from gen2seg_kernels.loss.tiles import Tiles  # noqa: E402
from gen2seg_kernels.prompt import plain  # noqa: E402

CARD = Card("FAKE", 86, 9_501_000, 384)


def test_without_a_card_nothing_is_claimed(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a card here")
    assert command.main() == 0
    assert capsys.readouterr().out == "gpu-check: no NVIDIA GPU here; nothing was run and nothing is claimed\n"


def test_bandwidth_comes_from_clock_and_bus():
    attributes = {"MEMORY_CLOCK_RATE": 9_501_000, "GLOBAL_MEMORY_BUS_WIDTH": 384}
    driver = SimpleNamespace(compute_capability=lambda: 86, attribute=attributes.__getitem__)
    assert this_card("FAKE", driver) == CARD  # type: ignore[arg-type]
    assert CARD.bandwidth == pytest.approx(912.1e9, rel=1e-3)
    assert "= 91.2 GB/s, 10.0 % of the card's 912 GB/s" in bandwidth_line("x", 91_209_600, 1e-3, CARD)


def test_a_report_needs_something_that_passed(capsys):
    good, bad = Check("a", 0.0, 0.0), Check("b", float("nan"), 1.0)
    assert report("t", [good])
    assert not report("t", [good, bad])
    assert not report("t", [])
    assert "FAIL b" in capsys.readouterr().out


def test_parity_finds_a_wrong_loss():
    def run(wrong):
        def loss(*arguments):
            terms, grad = eager.loss_and_grad(*arguments)
            assert grad is not None
            return terms * (1 + wrong), grad * (1 + wrong)

        return [check for check in loss_parity.check(loss, "cpu", loss_parity.cases((24, 32), 40)) if not check.passed]

    assert run(0.0) == []
    failed = run(1e-4)
    assert {check.name.rpartition(": ")[2] for check in failed} == {"value", "gradient"}


def test_parity_finds_a_wrong_mask():
    inputs = list(prompt_parity.images((24, 32)))

    def run(wrong):
        def masks(colors, prompts, cut):
            result = plain.masks(colors.numpy(), prompts, cut)
            result[0, 0, 0] ^= wrong
            return torch.from_numpy(result)

        return [check.passed for check in prompt_parity.check(masks, "cpu", inputs)]

    assert run(False) == [True, True, True]
    assert run(True) == [False, False, False]


def test_parity_finds_a_wrong_batch():
    images = [image for title, image in prompt_parity.images((24, 32)) if image.shape == (24, 32, 3)]
    assert len(images) > 1

    def run(order):
        def masks(colors, prompts, cut):
            return torch.from_numpy(
                np.concatenate(
                    [plain.masks(colors[i].numpy(), own, cut) for i, own in zip(order, prompts, strict=True)]
                )
            )

        return [check.passed for check in prompt_parity.check_batch(masks, "cpu", images)]

    assert run(range(len(images))) == [True] * 3
    assert run([0] * len(images)) == [False] * 3


def test_parity_finds_a_wrong_confidence():
    inputs = list(prompt_parity.images((24, 32)))

    def run(wrong):
        def confident(colors, prompt, cut):
            mask, sure = plain.mask_with_confidence(colors.numpy(), prompt, cut)
            return torch.from_numpy(mask), sure * wrong

        return [check.passed for check in prompt_parity.check_confidence(confident, "cpu", inputs)]

    assert run(1.0) == [True, True]
    assert run(0.999) == [False, False]


def test_a_card_that_no_file_fits_does_not_pass(capsys):
    assert not command.check_compiled(replace(CARD, capability=121), lambda: pytest.fail("there is nothing to launch"))
    assert "runs on sm_121: NOT checked" in capsys.readouterr().out


def test_times_name_the_bandwidth():
    def once(call):
        call()
        return 1e-3

    lines = [timing.copy_line(CARD, "cpu", once, size=1 << 10)]
    lines += timing.time_loss(eager.loss_and_grad, CARD, "cpu", once, sizes=((12, 16),), instances=(3,))

    def masks(colors, prompts, cut):
        return torch.from_numpy(plain.masks(colors.numpy(), prompts, cut))

    lines += timing.time_prompts(masks, CARD, "cpu", once, sizes=((12, 16),), prompts=(2,))
    assert sum("of the card's 912 GB/s" in line for line in lines) == 4
    assert sum("1.0x" in line for line in lines) == 2


def test_tuning_joins_the_best_of_each_part(tmp_path):
    base = Tiles()
    candidates = list(tiles.candidates(base))
    fast = {candidates[2]: 0.5, candidates[5]: 0.7, candidates[6]: 0.6}
    best = tuning.combine([(candidate, fast.get(candidate, 1.0)) for candidate in candidates])
    expected = replace(base, sum_pixels=candidates[2].sum_pixels, sum_rows=candidates[2].sum_rows)
    for name in ("mean_block", "mean_pixels", "mean_warps"):
        expected = replace(expected, **{name: getattr(candidates[6], name)})
    assert best == expected
    assert tuning.combine([(candidate, 1.0) for candidate in candidates]) == base


def test_tuning_writes_the_entry_of_the_card_only(tmp_path):
    source = Path(tiles.__file__).read_text()
    for capability in (86, 103):  # one that is there, one that is not
        path = tmp_path / f"tiles_{capability}.py"
        path.write_text(source)
        chosen = Tiles(pixel_block=1024, measured_on="FAKE's card")
        tuning.write_entry(capability, chosen, path)
        table = {known: vars(entry) for known, entry in runpy.run_path(str(path))["TABLE"].items()}
        assert table == {known: vars(entry) for known, entry in {**tiles.TABLE, capability: chosen}.items()}
        assert path.read_text().count("# untuned") == source.count("# untuned") - (capability in tiles.TABLE)


@pytest.mark.parametrize("name", ["short", "a name of some length " * 2, "a name too long for any one line " * 3])
def test_a_tuned_table_is_laid_out_as_all_source(tmp_path, monkeypatch, name):
    path = tmp_path / "tiles.py"
    path.write_text(Path(tiles.__file__).read_text())
    chosen = Tiles(sum_pixels=512, sum_rows=2, mean_pixels=64, pixel_block=1024, pixel_warps=8, measured_on=name)
    tuning.write_entry(86, chosen, path)
    monkeypatch.setitem(tiles.TABLE, 86, chosen)
    tuning.write_entry(89, chosen, path)  # beside an entry of several lines
    table = runpy.run_path(str(path))["TABLE"]
    assert vars(table[86]) == vars(table[89]) == vars(chosen)
    pytest.importorskip("ruff")
    command = [sys.executable, "-m", "ruff", "format", "--diff", "--line-length=120", "--isolated", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def bundle(tmp_path):
    """A strongly typed graph, Conv in float16 and MatMul in float32, and an engine's files beside it."""

    def node(kind, inputs, output, **options):
        return helper.make_node(kind, inputs, [output], name=f"/{output}/{kind}", **options)

    nodes = [
        node("Cast", ["x"], "narrow", to=TensorProto.FLOAT16),
        node("Conv", ["narrow", "w"], "conv"),
        node("Cast", ["conv"], "wide", to=TensorProto.FLOAT),
        node("MatMul", ["wide", "m"], "y"),
    ]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT16, (1, 1, 1, 1), np.ones(1, np.float16)),
        helper.make_tensor("m", TensorProto.FLOAT, (4, 4), np.eye(4, dtype=np.float32).ravel()),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, 4, 4)) for name in "xy"]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)), tmp_path / "stage.onnx")
    (tmp_path / "engines").mkdir()
    digest = hashlib.sha256((tmp_path / "stage.onnx").read_bytes()).hexdigest()
    record = {"target": "tensorrt_rtx", "made_from": {"graph": digest}}
    (tmp_path / "engines/stage.json").write_text(json.dumps(record))
    (tmp_path / "engines/stage.engine").write_bytes(b"engine")
    return tmp_path


def layer(name, kind, metadata=""):
    ends = [{"Name": "t", "Format/Datatype": f"Row major linear {kind} format"}]
    return {"Name": name, "LayerType": "x", "Inputs": ends, "Outputs": ends, "Metadata": metadata}


def fake_library(layers):
    """Stands for `tensorrt_rtx`, with the calls and names that its real module has."""
    inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": layers}))
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector) if layers is not None else None
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: engine)
    logger = SimpleNamespace(ERROR=1)
    return lambda name: SimpleNamespace(
        __name__=name,
        __version__="fake",
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        Runtime=lambda logger: runtime,
        LayerInformationFormat=SimpleNamespace(JSON=logger),
    )


def test_an_engine_as_planned(bundle):
    fused = layer("fused kernel", "FP16", "[ONNX Layer: /narrow/Cast]\x1e[ONNX Layer: /conv/Conv]")
    (check,) = engines.check_bundle(bundle, fake_library([fused, layer("/y/MatMul + more", "FP32")]))
    assert check.passed
    assert "not judged" not in check.detail


def test_a_silently_wide_layer_is_named(bundle):
    wide = layer("/conv/Conv + /wide/Cast", "FP32")
    (check,) = engines.check_bundle(bundle, fake_library([wide]))
    assert not check.passed
    assert "/conv/Conv: planned float16, runs float32" in check.detail
    assert "1 products not found" in check.detail


def test_an_engine_whose_names_fit_none_is_not_judged(bundle):
    wide, judged = engines.check_bundle(bundle, fake_library([layer("kernel 1", "FP16"), layer("/y/MatMul", "FP32")]))
    assert wide.passed
    assert not judged.passed
    assert "none of 1" in judged.detail


def test_engines_that_tell_nothing_are_refused(bundle):
    with pytest.raises(ValueError, match="names only"):
        list(engines.check_bundle(bundle, fake_library(["/conv/Conv"])))
    with pytest.raises(ValueError, match="cannot load it"):
        list(engines.check_bundle(bundle, fake_library(None)))
    (bundle / "stage.onnx").unlink()
    (check,) = engines.check_bundle(bundle, fake_library([]))
    assert not check.passed


def test_the_library_has_what_the_check_calls():
    trt = pytest.importorskip("tensorrt_rtx")
    assert trt.LayerInformationFormat.JSON is not None
    assert trt.Logger.ERROR is not None
    for owner, name in (
        (trt.Runtime, "deserialize_cuda_engine"),
        (trt.ICudaEngine, "create_engine_inspector"),
        (trt.EngineInspector, "get_engine_information"),
    ):
        assert callable(getattr(owner, name))


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("Row major linear FP16 format", {"float16"}),
        ("Channel major FP16 format where channel % 8 == 0", {"float16"}),
        ("Half", {"float16"}),
        ("BFloat16", {"bfloat16"}),
        ("Row major linear BF16 format", {"bfloat16"}),
        ("Float", {"float32"}),
        ("Int32", set()),
    ],
)
def test_spellings_of_types(text, types):
    assert engines.layer_types({"Inputs": [{"Format/Datatype": text}]}) == types
    assert engines.layer_types({"Outputs": [{"Datatype": text}]}) == types
