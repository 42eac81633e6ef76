"""The command line as such: light to load, complete help, names that are known, lists that are exact."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from pointsmith.ui.cli.main import VERBS, cli

from tests.support.cli import Call
from tests.support.paths import ROOT
from tests.support.processes import PATIENCE

HEAVY = ("torch", "numpy", "gradio", "celery", "redis", "pydantic", "yaml", "trimesh")


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys\n"
        "from pointsmith.ui.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout
    assert done.stderr.strip() == ""


def test_every_verb_has_help_with_an_example(call: Call) -> None:
    listed = call("--help").output
    for verb, (_, _, about) in VERBS.items():
        assert f"  {verb}" in listed and about in listed
        result = call(verb, "--help")
        assert result.exit_code == 0
        assert "Example:" in result.output and f"pointsmith {verb}" in result.output


def test_verbs_load_as_commands_of_their_name() -> None:
    context = click.Context(cli)
    for verb in VERBS:
        command = cli.get_command(context, verb)  # type: ignore[attr-defined]
        assert isinstance(command, click.Command) and command.name == verb


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tarin"], "train?"),
        (["frobnicate"], "'frobnicate'"),
        (["train", "--no-such-option"], "--no-such-option"),
        (["predict"], "ADAPTER"),
        (["methods", "--classes", "1"], "x>=2"),
    ],
)
def test_wrong_usage(call: Call, words: list[str], said: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_methods_counts_what_the_papers_count(call: Call) -> None:
    found = json.loads(call("methods", "--json").stdout)
    presets = {row["preset"]: row for row in found["presets"]}
    assert all(row["trainable"] == row["published"] for row in presets.values())
    assert presets["dapt-x"]["trainable"] == 418_067 and presets["adaptformer-x-2d"]["trainable"] == 173_568
    assert presets["dapt-scan-objbg"]["recipe"] == "dapt-scan-objbg"
    rows = {row["method"]: row for row in found["methods"]}
    assert rows["dapt"]["trainable"]["point-mae"] == 1_087_771 and rows["dapt"]["total"]["point-mae"] == 22_912_795
    assert rows["full"]["trainable"]["vit-b16"] == 85_798_656
    assert "point-m2ae" in rows["dapt"]["refused"]


def test_methods_as_a_table_and_with_multiply_adds(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from pointsmith.ui.cli import methods

    rows = [row for row in methods.counted(15) if row["method"] == "dapt"]
    monkeypatch.setattr(methods, "counted", lambda classes: rows)
    text = call("methods", "--flops").output
    assert "1,087,771" in text and "4.96 G" in text and "dapt-x-ablation" in text


def test_the_readme_holds_the_generated_tables(call: Call) -> None:
    readme = (ROOT / "README.md").read_text()
    assert call("methods", "--markdown").output.strip() in readme


def test_methods_counts_what_a_run_trains() -> None:
    from pointsmith.core.building import build
    from pointsmith.core.config import choices, parse_config
    from pointsmith.ui.cli.methods import counted

    for row in counted(7):
        config = parse_config({"backbone": {"kind": "demo", "weights": "random"}, "method": {"kind": row["method"]}})
        assert build(config, 7).model.count() == (row["with_head"]["demo"], row["total"]["demo"])
    assert {row["method"] for row in counted(7)} == set(choices("method"))


def test_backbones_datasets_and_recipes(call: Call) -> None:
    kinds = [row["kind"] for row in json.loads(call("backbones", "--json").stdout)]
    assert kinds[:2] == ["demo", "point-mae"]
    assert "21,825,792" in call("backbones").output
    sets = {row["kind"]: row["settings"] for row in json.loads(call("datasets", "--json").stdout)}
    assert {"demo", "folder", "h5"} <= set(sets)
    assert {"name": "path", "required": True}.items() <= next(s for s in sets["folder"] if s["name"] == "path").items()
    assert "preparation.points" in {setting["name"] for setting in sets["demo"]}
    assert "data.test_share" in call("datasets").output
    names = [row["name"] for row in json.loads(call("recipes", "--json").stdout)]
    assert "demo" in names and "demo" in call("recipes").output
    assert "method:" in call("recipes", "demo").output
    assert json.loads(call("recipes", "demo", "--json").stdout)["run"]["method"]["kind"] == "dapt"


def test_help_is_quick() -> None:
    """Generous, for a busy machine; the time without the interpreter's own start is printed by importtime."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import pointsmith.ui.cli.main"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("pointsmith.ui.cli.main")
    assert int(last.split("|")[1]) < 300_000


def test_installed_script_calls_this_main() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'pointsmith = "pointsmith.ui.cli.main:main"' in text
