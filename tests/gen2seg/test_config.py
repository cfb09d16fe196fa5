"""Configurations: typed, overridable, and clear about what is wrong."""

import pytest

from gen2seg.config import ConfigError, load_config, shipped_configs


def test_shipped_configurations_load() -> None:
    assert "tiny" in shipped_configs()
    for name in shipped_configs():
        config = load_config(name)
        assert config.steps > 0
        assert config.output


def test_overrides_are_typed() -> None:
    config = load_config("tiny", ["optimizer.lr=3e-4", "steps=7", "output=elsewhere/run", "optimizer.betas=[0.8, 0.9]"])
    assert config.optimizer.lr == 3e-4
    assert config.steps == 7
    assert config.output == "elsewhere/run"
    assert config.optimizer.betas == (0.8, 0.9)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", "unknown key 'optimizer.lrr'; did you mean 'lr'"),
        ("stepz=1", "did you mean 'steps'"),
        ("steps=many", "steps must be int, got 'many'"),
        ("steps=true", "steps must be int, got True"),
        ("steps=0", "must be at least 1"),
        ("optimizer.lr=-1", "optimizer.lr"),
        ("optimizer=3", "optimizer. must be a table"),
        ("steps.more=3", "'steps' is not a table"),
        ("nothing", "key=value"),
        ("mixed_precision=int8", "mixed_precision must be"),
        ("objective.contrastive=0.0", "not all 0"),
        ("objective.reconstruction=1.0", "goes alone"),
        ("objective.coloring_options={nope=1}", "coloring_options: .*'nope'"),
        ("objective.coloring_options={huber_delta=0}", "huber_delta must be positive"),
        ("objective.coloring_options={huber_delta='x'}", "objective.coloring_options"),
        ("data.stages=[]", "must start at step 0"),
        ("data.stages=[{from_step=0,size=100,batch=1}]", "multiple of 32"),
        ("data.stages=[{from_step=5,size=128,batch=1}]", "must start at step 0"),
        ("data.workers=-1", "data.workers"),
        ("optimizer.ema_decay=1.0", "ema_decay"),
        ("optimizer.betas=[1]", "optimizer.betas must be"),
        ("optimizer.betas=[1.0, 0.9]", "optimizer.betas must be in"),
        ("optimizer.lr=nan", "optimizer.lr"),
        ("optimizer.weight_decay=-0.1", "optimizer.weight_decay"),
        ("optimizer.schedule=step", "optimizer.schedule must be one of"),
        ("optimizer={schedule='cosine'}", "needs decay_steps > warmup_steps"),
        ("objective={contrastive=1.0, squared=true, coloring_options={huber_delta=2.0}}", "no huber_delta"),
        ("model.trained=encoder", "model.trained must be one of"),
        ("model.trained=last", "model.last_blocks goes with"),
        ("model.text_tokens=99", "model.text_tokens must lie in 2..77"),
        ("model.x0_sample=noise", "model.x0_sample"),
        ("sample_every=-1", "sample_every"),
        ("data.batch=0", "data.batch"),
        ("data.sources.a={kind='folder'}", "the key 'data.sources.a.root' is missing"),
        ("data.sources.a={kind='folder', root='x', fit='squeeze'}", "data.sources.a: a source needs"),
        ("data.sources.a={kind='folder', root='x', sise=[1, 2]}", "did you mean 'size'"),
    ],
)
def test_bad_override_is_explained(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_config("tiny", [override])


def test_sources_are_records_with_names() -> None:
    overrides = ["data.sources.mine.kind=folder", "data.sources.mine.root=photos", "data.sources.mine.size=[96, 128]"]
    (source,) = load_config("tiny", overrides).data.sources.values()
    assert (source.kind, source.root, source.size, source.weight) == ("folder", "photos", (96, 128), 1.0)


def test_the_recipes_follow_the_reference() -> None:
    """The numbers of the reference's scripts; per device 2 pictures x 4 micro-batches on 4 devices."""
    for name in ("sd2", "mae-b", "mae-h", "dino-b"):
        config = load_config(name)
        optimizer = config.optimizer
        assert (config.steps, optimizer.lr, optimizer.warmup_steps, optimizer.decay_steps) == (
            30_000,
            6e-5,
            100,
            40_000,
        )
        assert (config.data.batch, optimizer.accumulate) == (2, 4 * 4)
        assert (optimizer.betas, optimizer.weight_decay, optimizer.gradient_clip) == ((0.9, 0.999), 1e-2, 1.0)
        assert {name: source.weight for name, source in config.data.sources.items()} == {
            "hypersim": 9,
            "virtual-kitti-2": 1,
        }
    assert {
        load_config(f"{name}-{data}").backbone
        for name in ("sd2", "mae-b", "mae-h", "dino-b")
        for data in ("coco", "clevrtex", "5class", "10class")
    } == {"sd2", "mae-b", "mae-h", "dino-b"}
    assert load_config("sd2-5class").steps == load_config("sd2-10class").steps == 15_000


def test_a_file_extends_another(tmp_path) -> None:
    base, child = tmp_path / "base.toml", tmp_path / "child.toml"
    base.write_text(
        'steps = 3\noutput = "x"\n[optimizer]\nlr = 1.0\nwarmup_steps = 7\n'
        '[data.sources.a]\nkind = "folder"\nroot = "a"\n'
    )
    child.write_text(
        'extends = "base.toml"\nsteps = 4\n[optimizer]\nlr = 2.0\n[data.sources.b]\nkind = "folder"\nroot = "b"\n'
    )
    config = load_config(str(child), ["seed=5"])
    assert (config.steps, config.output, config.seed) == (4, "x", 5)
    assert (config.optimizer.lr, config.optimizer.warmup_steps) == (2.0, 7)
    assert list(config.data.sources) == ["b"]
    assert list(load_config(str(base)).data.sources) == ["a"]
    base.write_text('extends = "child.toml"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(str(child))
    base.write_text("extends = 3\n")
    with pytest.raises(ConfigError, match="extends must be"):
        load_config(str(base))


def test_a_folder_of_that_name_is_no_configuration(tmp_path, monkeypatch) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config("tiny").backbone == "tiny"


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown configuration 'tinny'; shipped: .*tiny"):
        load_config("tinny")


def test_files(tmp_path) -> None:
    path = tmp_path / "own.toml"
    with pytest.raises(ConfigError, match=r"own\.toml"):
        load_config(str(path))
    path.write_text('steps = 3\noutput = "x"\ninit = "some/where"\n')
    assert load_config(str(path)).init == "some/where"
    path.write_text("steps = 3\n")
    with pytest.raises(ConfigError, match="'output' is missing"):
        load_config(str(path))
    path.write_text("steps = = 3\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(str(path))
