"""Rendering training scenes on one core; the network must never wait for them."""

import itertools

import pytest

from gen2seg.data.scenes import render_scene


@pytest.mark.parametrize("size", [128, 256])
def test_render_scene(benchmark, size: int) -> None:
    benchmark.group = "one procedural scene"
    seeds = itertools.cycle(range(200))
    render_scene(0, size)  # the texture bank is made once per 4096 scenes
    benchmark.pedantic(lambda: render_scene(next(seeds), size), rounds=200)
