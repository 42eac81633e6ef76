"""The form shows every setting of every config class, and gives back the very config it was filled with."""

from __future__ import annotations

import shlex

import click
import pytest
from pointsmith.core.config import RunConfig, choices, parse_config
from pointsmith.core.data.config import DemoData, FolderData
from pointsmith.core.errors import UserError
from pointsmith.core.recipes import recipes
from pointsmith.core.schema import Config
from pointsmith.ui.cli.run_options import RunOptions, make_run, run_options
from pointsmith.ui.command import command_line
from pointsmith.ui.form import PARTS, Form, from_config, settings, to_content


def every_field(cls: type[Config], prefix: str) -> list[str]:
    found: list[str] = []
    for name, field in cls.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            found += every_field(field.annotation, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def test_every_field_has_exactly_one_component() -> None:
    wanted: list[str] = []
    for name, field in RunConfig.model_fields.items():
        if name in PARTS:
            for kind, cls in choices(name).items():
                wanted += [key for key in every_field(cls, f"{name}.{kind}.") if key != f"{name}.{kind}.kind"]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            wanted += every_field(field.annotation, f"{name}.")
        else:
            wanted.append(name)
    form = Form(RunConfig())
    assert form.place(lambda one: True) == len(wanted)
    assert form.place(lambda one: True) == 0
    assert sorted(form.components) == sorted(wanted)


def test_settings_are_described_with_their_limits() -> None:
    known = {one.key: one for one in settings()}
    assert known["optim.lr"].label == "Learning rate"
    assert known["epochs"].info == "passes over the training data · 1 to 10000"
    # The demo backbone only changes the default of `dim`: what the base class says of it still holds.
    assert known["backbone.demo.dim"].info == known["backbone.point-mae.dim"].info != ""


def through_the_browser(config: RunConfig) -> RunConfig:
    """What the page does with a config: into the components' values, and back."""
    kinds, shown = from_config(config)
    form = Form(RunConfig())
    form.place(lambda one: True)
    seen = {key: form.components[key].preprocess(form.components[key].postprocess(shown[key])) for key in shown}
    return parse_config(to_content(kinds, seen))


def takes(backbone: str, method: str) -> bool:
    """Return whether the backbone has a place for the method, as it is by default."""
    try:
        choices("method")[method]().check(choices("backbone")[backbone]().shape)  # type: ignore[attr-defined]
    except UserError:
        return False
    return True


@pytest.mark.parametrize(
    ("backbone", "method"),
    [(backbone, method) for backbone in choices("backbone") for method in choices("method") if takes(backbone, method)],
)
def test_round_trip(method: str, backbone: str) -> None:
    sees = choices("backbone")[backbone].modality  # type: ignore[attr-defined]
    data = {"kind": "images", "path": "/photos"} if sees == "images" else {"kind": "demo"}
    config = parse_config({"method": {"kind": method}, "backbone": {"kind": backbone}, "data": data})
    assert through_the_browser(config) == config


def test_round_trip_of_unusual_values() -> None:
    config = parse_config(
        {
            "data": {"kind": "h5", "train": "/a b/train.h5", "classes": "/names.txt", "preparation": {"points": 512}},
            "backbone": {"kind": "own", "dim": 48, "heads": 3, "widths": [8, 16, 32], "token_dim": 40},
            "head": {"parts": ["cls", "patch-mean"]},
            "optim": {"lr": 3e-5, "min_lr": 0},
            "patience": 7,
            "select": "last",
        }
    )
    assert through_the_browser(config) == config


@pytest.mark.parametrize("plan", [["3/0/1", "0/2/0"], ["1/1/1"], None])
def test_round_trip_of_plans(plan: list[str] | None) -> None:
    config = parse_config(
        {"method": {"kind": "noah", "plan": plan}, "backbone": {"kind": "own", "depth": 2, "dim": 48, "heads": 3}}
    )
    assert through_the_browser(config) == config
    words = shlex.split(command_line(config))
    assert ("method.plan=null" in words) == (plan is None)


@pytest.mark.parametrize("name", list(recipes()))
def test_recipes_fill_the_form(name: str) -> None:
    config = recipes()[name].config()
    assert through_the_browser(config) == config


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("epochs", 0, "epochs"),
        ("epochs", 2.5, "epochs"),
        ("patience", "soon", "patience"),
        ("optim.lr", None, "optim.lr"),
        ("backbone.demo.widths", "64, x, 256", "widths"),
    ],
)
def test_bad_values_are_refused_by_name(key: str, value: object, named: str) -> None:
    kinds, shown = from_config(RunConfig())
    with pytest.raises(UserError, match=named):
        parse_config(to_content(kinds, shown | {key: value}), "The form")


def test_points_and_images_do_not_mix() -> None:
    kinds, shown = from_config(RunConfig())
    with pytest.raises(UserError, match="`demo`"):
        parse_config(to_content(kinds | {"backbone": "vit-b16"}, shown), "The form")
    with pytest.raises(UserError, match="`images`"):
        parse_config(to_content(kinds | {"data": "images"}, shown | {"data.images.path": "/x"}), "The form")


def test_a_path_left_empty_is_missing() -> None:
    kinds, shown = from_config(RunConfig())
    with pytest.raises(UserError, match=r"\bpath\b"):
        parse_config(to_content(kinds | {"data": "folder"}, shown), "The form")


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(),
        RunConfig(data=DemoData(train_per_class=5), epochs=3, batch_size=8, seed=4),
        parse_config(
            {"method": {"kind": "probe", "train_cls": True}, "optim": {"lr": 1e-3}, "head": {"parts": ["cls"]}}
        ),
        RunConfig(data=FolderData(path="/a folder/it's.zip"), patience=3),  # type: ignore[arg-type]
        parse_config(
            {
                "backbone": {"kind": "vit-b16", "image_size": 64},
                "data": {"kind": "vtab", "path": "/v", "task": "svhn", "preparation": {"size": 64}},
                "select": "last",
            }
        ),
        parse_config(
            {
                "backbone": {"kind": "vit-b16"},
                "data": {"kind": "images", "path": "/a.csv", "test": "/b.csv", "augment": "flip"},
            }
        ),
    ],
)
def test_the_command_line_means_the_same(config: RunConfig) -> None:
    words = shlex.split(command_line(config))
    assert words[:2] == ["pointsmith", "train"]
    given: dict[str, object] = {}

    @run_options
    def taken(**options: object) -> None:
        given.update(options)

    click.command()(taken).main(words[2:], standalone_mode=False)
    assert make_run(RunOptions(**given)) == config  # type: ignore[arg-type]
