"""Ahead-of-time compilation on a small kernel of the test's own: files, contract, table; no GPU takes part."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from click.testing import CliRunner

from gen2seg_kernels.aot import resources
from gen2seg_kernels.aot.__main__ import main
from gen2seg_kernels.aot.architectures import ARCHITECTURES, fitting_architecture, is_exact
from gen2seg_kernels.aot.build import build
from gen2seg_kernels.aot.compile import compile_variant
from gen2seg_kernels.aot.contract import Contract, read_contract, read_cubin
from gen2seg_kernels.aot.discover import all_variants, kernels_left_out
from gen2seg_kernels.aot.errors import ContractError, CubinIntegrityError, KernelBuildError, LaunchError
from gen2seg_kernels.aot.grid import evaluate_grid, evaluate_rule
from gen2seg_kernels.aot.ptx import read_usage

TOY = """
import triton
import triton.language as tl
from gen2seg_kernels.variants import KernelVariant

@triton.jit
def _twice_plainly(x):
    return 2 * x

_twice = _twice_plainly

@triton.jit
def toy_scale(x_ptr, flags_ptr, y_ptr, n, big, scale, exact, small, on, BLOCK: tl.constexpr, LIMIT: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i + big, mask=(i < n) & (tl.load(flags_ptr + i, mask=i < n, other=0) > 0), other=0.0)
    y = _twice(x.to(tl.float32)) * scale + exact.to(tl.float32) + small + on
    tl.store(y_ptr + i, y + tl.sum(y), mask=i < n)

@triton.jit
def toy_forgotten(x_ptr):
    tl.store(x_ptr, 1.0)

def variants():
    signature = {"x_ptr": "*fp16:16", "flags_ptr": "*u8", "y_ptr": "*fp32", "n": "i32", "big": "i64", "scale": "fp32",
                 "exact": "fp64", "small": "i16", "on": "i1", "BLOCK": "constexpr", "LIMIT": "constexpr"}
    grid = ("cdiv(n, BLOCK)", "images + 1", "2*1")
    return [KernelVariant("toy_scale", toy_scale, signature, {"BLOCK": 256, "LIMIT": None}, grid, doc="Toy.")]
"""
ARCHS = (75, 90)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    (folder / "aot_toy.py").write_text(TOY)
    sys.path.insert(0, str(folder))
    yield "aot_toy"
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def built(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, build([toy], ARCHS, folder, workers=2)


def test_contract_lists_the_parameters_of_the_ptx(toy):
    (variant,) = all_variants([toy])
    compiled = compile_variant(variant, 90)
    entry = re.search(r"\.entry\s+toy_scale\((.*?)\)", compiled.ptx, re.DOTALL)
    assert entry is not None
    in_ptx = [line.split()[1].lstrip(".") for line in entry[1].strip().splitlines()]
    assert [parameter.ptx for parameter in compiled.parameters] == in_ptx
    arguments = [name for name, kind in variant.signature.items() if kind != "constexpr"]
    assert [p.name for p in compiled.parameters] == [*arguments, "global_scratch", "profile_scratch"]
    assert [p.scratch for p in compiled.parameters] == [False] * len(arguments) + [True, True]


def test_files_are_what_the_contract_says(built):
    folder, contract = built
    assert read_contract(folder) == contract
    kernel = contract.kernel("toy_scale")
    assert [target.file for target in kernel.targets] == ["toy_scale.sm_75.cubin", "toy_scale.sm_90.cubin"]
    assert [target.exact for target in kernel.targets] == [False, True]  # Triton assembles sm_90a
    assert kernel.grid_arguments == ("images",)
    assert kernel.parameters[0].alignment == 16
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["kernels.json", *(target.file for target in kernel.targets)]
    )
    for target in kernel.targets:
        cubin = read_cubin(folder, target)
        assert cubin[:4] == b"\x7fELF"
        assert b"aot_toy.py" not in cubin  # no path of the machine that built it
        assert target.block == (128, 1, 1)
        assert target.spill_store_bytes == target.spill_load_bytes == 0


def test_registers_agree_with_what_the_file_itself_says(built):
    from triton import knobs

    folder, contract = built
    for target in contract.kernel("toy_scale").targets:
        tool = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "-res-usage", folder / target.file],
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"REG:{target.registers} " in tool.stdout


def test_the_same_source_gives_the_same_bytes(toy, built):
    (variant,) = all_variants([toy])
    assert compile_variant(variant, 75).cubin == read_cubin(built[0], built[1].kernel("toy_scale").target(75))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signature": {"x_ptr": "*fp16"}}, "the signature names"),
        ({"constexprs": {"BLOCK": 256}}, "values for \\['BLOCK'\\]"),
    ],
)
def test_a_wrong_variant_is_refused(toy, change, message):
    from dataclasses import replace

    with pytest.raises(KernelBuildError, match=message):
        compile_variant(replace(all_variants([toy])[0], **change), 75)


def test_a_kernel_left_out_is_named(toy):
    assert kernels_left_out([toy], all_variants([toy])) == [
        "aot_toy.toy_forgotten"
    ]  # not the helper, which has two names


def test_unknown_kernels_are_refused(toy, tmp_path):
    with pytest.raises(KernelBuildError, match=r"unknown kernels \['toy_tale'\]; known: toy_scale"):
        build([toy], ARCHS, tmp_path, names=["toy_tale"])
    with pytest.raises(KernelBuildError, match=r"none of toy_scale is for \(\)"):
        build([toy], (), tmp_path)


def test_the_gate_sees_spills_growth_and_absence(built):
    from dataclasses import replace

    contract = built[1]
    rows = resources.rows_of(contract)
    assert resources.complaints(contract, rows) == []
    registers, shared = rows["toy_scale"]["75"]
    smaller = {"toy_scale": {"75": (registers - 1, shared - 4)}, "toy_gone": {"75": (1, 1)}}
    found = resources.complaints(contract, smaller)
    assert [text.split(": ")[0] for text in found] == ["toy_scale.sm_75"] * 2 + ["toy_scale.sm_90", "toy_gone"]
    kernel = contract.kernel("toy_scale")
    spilling = replace(kernel, targets=(replace(kernel.targets[0], spill_store_bytes=8),))
    assert "8 bytes stored" in resources.complaints(Contract("3", {"toy_scale": spilling}), rows)[0]


def test_spills_are_never_guessed():
    log = "Used 40 registers, used 1 barriers\n    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads"
    assert read_usage(log).spill_store_bytes == 8
    with pytest.raises(KernelBuildError, match="names no registers or spills"):
        read_usage("Used 40 registers")


def test_command_line(toy, tmp_path):
    before = resources.TABLE.read_bytes()
    done = CliRunner().invoke(main, ["--module", toy, "--arch", "sm_86,75", "--jobs", "1", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {"sm_75", "sm_86"} <= set(re.findall(r"sm_\d+", done.output))
    assert "1 kernels, 2 files, 0 bytes spilled" in done.output
    assert (tmp_path / "out" / "toy_scale.sm_86.cubin").is_file()
    assert CliRunner().invoke(main, ["--arch", "70", "-o", "x"]).exit_code == 2
    assert resources.TABLE.read_bytes() == before  # it was not asked for


def test_grid_rules():
    assert evaluate_rule("cdiv(n, 1024) * 2 + m", {"n": 1025, "m": 3}) == 7
    assert evaluate_grid(("cdiv(n, B)", "1", "k"), {"n": 1, "B": 64, "k": 5}) == (1, 1, 5)
    for rule in (
        "__import__('os')",
        "n.real",
        "n ** 9",
        "n - 1",
        "cdiv(n)",
        "True",
        "[1]",
        "1.5",
        "(",
        "1+" * 200 + "1",
    ):
        with pytest.raises(ContractError, match="grid rule"):
            evaluate_rule(rule, {"n": 1})
    for rules, message in (
        (("n", "1", "1"), r"give a grid of \(0, 1, 1\)"),
        (("1", "70000", "1"), "65535"),
        (("q", "1", "1"), "for q"),
    ):
        with pytest.raises(LaunchError, match=message):
            evaluate_grid(rules, {"n": 0})
    with pytest.raises(LaunchError, match="divides by 0"):
        evaluate_rule("cdiv(4, n)", {"n": 0})


def test_which_file_a_device_runs():
    compiled = [(sm, is_exact(sm)) for sm in ARCHITECTURES]
    assert {sm: fitting_architecture(sm, compiled) for sm in ARCHITECTURES} == {sm: sm for sm in ARCHITECTURES}
    assert fitting_architecture(88, compiled) == 86  # desktop: the nearest below of the same major
    assert fitting_architecture(121, compiled) is None  # sm_120a runs on 12.0 only
    assert fitting_architecture(87, [(80, False), (86, False)]) is None  # Tegra runs no desktop code
    assert fitting_architecture(70, compiled) is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "schema 2, expected 1"),
        (("kernels", 0, "targets", 0, "file"), "../x.sm_75.cubin", "no name of a compiled file"),
        (("kernels", 0, "targets", 0, "grid", 0), "cdiv(m, 2)", r"names \['m'\]"),
        (("kernels", 0, "targets", 0, "registers"), -1, "registers is -1"),
        (("kernels", 0, "targets", 0, "surprise"), 1, "surprise"),
        (("kernels", 0, "parameters", 3, "ptx"), "u64", "i32 has 32 bits"),
        (("kernels", 0, "parameters", 3, "type"), "tensor", "cannot be passed"),
        (("kernels", 0, "parameters", 1, "name"), "x_ptr", "two parameters of one name"),
        (("triton",), 3, "expected str"),
    ],
)
def test_a_wrong_contract_is_refused(built, tmp_path, path, value, message):
    document = json.loads((built[0] / "kernels.json").read_text())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "kernels.json").write_text(json.dumps(document))
    with pytest.raises(ContractError, match=message):
        read_contract(tmp_path)


def test_broken_contracts_and_files_are_refused(built, tmp_path):
    with pytest.raises(ContractError, match="cannot be read"):
        read_contract(tmp_path)
    (tmp_path / "kernels.json").write_text("{")
    with pytest.raises(ContractError, match="is not JSON"):
        read_contract(tmp_path)
    target = built[1].kernel("toy_scale").targets[0]
    cubin = bytearray(read_cubin(built[0], target))
    cubin[100] ^= 1
    for content, message in (
        (bytes(cubin), "expected sha256"),
        (bytes(cubin[:-1]), "bytes, found"),
        (None, "found none"),
    ):
        file = Path(tmp_path / target.file)
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(CubinIntegrityError, match=message):
            read_cubin(tmp_path, target)
