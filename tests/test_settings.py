"""Layers, origins, types and messages of the settings."""

from pathlib import Path

import pytest

from inkling.errors import UserError
from inkling.settings import Layer, build, dump_toml, flatten, help_text, leaves, read_toml, split_flags
from inkling.stages.prepare import PrepareSettings
from inkling.stages.sample import SampleSettings
from inkling.stages.train_settings import TrainSettings, compose

SCHEMAS = [TrainSettings, PrepareSettings, SampleSettings]


def test_flags_in_every_spelling():
    words = ["name", "--max-iters=5", "--batch_size", "3", "--compile", "--resume", "--learning_rate=-1e-3", "other"]
    positional, flags = split_flags(TrainSettings, words)
    assert positional == ["name", "other"]
    assert flags == {
        "max_iters": "5",
        "batch_size": "3",
        "compile": "True",
        "resume": "True",
        "learning_rate": "-1e-3",
    }


def test_later_layers_win_and_origins_are_kept():
    layers = [
        Layer("preset p", {"bias": False}),
        Layer("recipe r", {"n_layer": 3, "bias": True}),
        Layer("flag", {"n_layer": "5"}),
    ]
    settings, origins = build(TrainSettings, layers)
    assert settings.model.n_layer == 5 and settings.model.bias is True
    assert origins["n_layer"] == "flag" and origins["bias"] == "recipe r" and origins["n_head"] == "default"


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("--n_layers=3", "--n_layer"), ("--learing_rate=1", "--learning_rate"), ("--devise=cpu", "--device")],
)
def test_unknown_key_names_the_nearest(word, nearest):
    with pytest.raises(UserError, match=f"Did you mean {nearest}"):
        split_flags(TrainSettings, [word])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("n_layer", "four", "a whole number"),
        ("n_layer", "1.5", "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("compile", "perhaps", "True or False"),
        ("dtype", "float8", "one of auto, float32"),
        ("eval_only", "2", "True or False"),
    ],
)
def test_wrong_type_names_key_value_and_what_is_wanted(key, value, says):
    with pytest.raises(UserError) as caught:
        build(TrainSettings, [Layer("flag", {key: value})])
    assert key in str(caught.value) and value in str(caught.value) and says in str(caught.value)


def test_wrong_type_in_a_recipe_names_the_recipe():
    with pytest.raises(UserError, match=r"n_layer.*recipe mine"):
        build(TrainSettings, [Layer("recipe mine", {"n_layer": "four"})])


def test_flag_without_value_is_an_error():
    with pytest.raises(UserError, match="--n_layer needs a value"):
        split_flags(TrainSettings, ["--n_layer"])


def test_toml_round_trip(tmp_path):
    settings, _ = build(TrainSettings, [Layer("flag", {"n_layer": "3", "head_size": "8", "out_dir": "runs/ü"})])
    file = tmp_path / "s.toml"
    file.write_text(dump_toml(flatten(settings)), encoding="utf-8")
    again, _ = build(TrainSettings, [Layer("file", read_toml(file))])
    assert again == settings


@pytest.mark.parametrize(("content", "says"), [("n_layer == 3", "not valid TOML"), ("[model]\nn_layer = 3", "table")])
def test_bad_toml(tmp_path, content, says):
    file = tmp_path / "bad.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        read_toml(file)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_flat_typed_and_explained_in_help(schema):
    text = help_text(schema, "inkling verb", "what it does")
    for name, (_, _, kind) in leaves(schema).items():
        assert f"--{name} " in text, name
        assert kind is not None
    # tyro shows a field's docstring beside it; a field without one shows only its default.
    for field in leaves(schema):
        entry = text.split(f"--{field} ")[1].split(" --")[0]
        assert len(entry.split("(default")[0].split()) > 2, f"{field} has no explanation"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_flat_names_are_unique(schema):
    import dataclasses
    import typing

    hints = typing.get_type_hints(schema)
    sections = [hints[field.name] for field in dataclasses.fields(schema)]
    names = [f.name for kind in sections if dataclasses.is_dataclass(kind) for f in dataclasses.fields(kind)]
    assert len(names) == len(set(names))


def test_preset_fills_only_what_nobody_set(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('preset = "nanochat"\nsoftcap = 30.0\n', encoding="utf-8")
    settings, origins, given = compose([str(recipe)], {"bias": "True"})
    assert settings.model.softcap == 30.0 and origins["softcap"].startswith("recipe")
    assert settings.model.bias is True and origins["bias"] == "flag"
    assert settings.model.mlp == "relu2" and origins["mlp"] == "preset nanochat"
    assert given == {"preset": "nanochat", "softcap": 30.0, "bias": True}
    assert settings.run.out_dir == str(Path("runs/mine"))
