"""YAML, JSON and values from anybody: bounded before they cost anything; messages and terminals show, never obey."""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsmith.core.bounded_text import check_bounds, read_json, read_yaml
from pointsmith.core.config import amend, override, parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.printable import brief, printable, terminal_text
from pointsmith.core.recipes import FOLDER
from pointsmith.core.reread import reread
from pointsmith.core.training.sweep import parse_plan, values_of

LEVELS = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(9))
BOMBS = {
    "aliases": LEVELS,
    "alias of itself": "a: &a [*a]",
    "merged": "base: &b {x: 1}\nother: {<<: *b}",
    "merged inline": "{<<: {x: 1}}",
    "deep flow": "[" * 30_000,
    "deep block": "\n".join(f"{' ' * i}k:" for i in range(300)),
    "deep mapping": "{a: " * 5_000,
    "deep sequence": "- " * 5_000 + "x",
    "many values": "[" + "1," * 30_000 + "]",
    "long number": "a: " + "9" * 50_000,
    "sexagesimal": "a: 1" + ":59" * 10_000,
    "python tag": "!!python/object/apply:os.system ['true']",
    "binary tag": "a: !!binary '====='",
    "two documents": "a: 1\n---\na: 2",
    "key twice": "a: 1\na: 2",
    "bad date": "a: 2024-13-77",
    "no text": "a: \x00",
    "unclosed": "a: 'x",
    "complex key": "? [a, b]\n: c",
    "too long": "# " + "x" * 100_000,
}


@contextmanager
def cheap() -> Iterator[None]:
    """At most two seconds of processor time and 60 MB."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_that_explodes_is_refused_by_every_reader(name: str, tmp_path: Path) -> None:
    text = BOMBS[name]
    file = tmp_path / "run.yaml"
    file.write_bytes(text.encode())
    fewshot = {"data": {"kind": "fewshot", "base": text}, "select": "last"}
    readers: list[Callable[[], Any]] = [
        lambda: read_yaml(text, name="It"),
        lambda: reread(file),
        lambda: parse_config(fewshot),
        lambda: parse_config(amend({}, fewshot)),
        lambda: override({}, [f"optim={text}"]),
        lambda: parse_config(override({}, [f"data={text}"])),
    ]
    for read in readers:
        with cheap(), pytest.raises(UserError) as error:
            read()
        assert len(str(error.value)) < 1500, len(str(error.value))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999999}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "9" * 5_000 + "}",
        "[" + "[]," * 400_000 + "[]]",
        '{"a": "\ud800"',
        "",
        "nul",
        '"' + "x" * 2_000_000 + '"',
    ],
    ids=range(12),
)
def test_json_that_is_none_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        read_json(text, name="It", values=100_000)


def test_bytes_and_files_are_read_only_as_far_as_the_limit(tmp_path: Path) -> None:
    assert read_json('\ufeff{"a": [1.5, "ä"]}'.encode(), name="It") == {"a": [1.5, "ä"]}
    assert read_yaml(b"\xef\xbb\xbfa: 1", name="It") == {"a": 1}
    sparse = tmp_path / "sparse.json"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    for read in (read_json, read_yaml):
        with cheap(), pytest.raises(UserError):
            read(sparse, name="It")
        with pytest.raises(UserError):
            read(b"\xff\xfe", name="It")
        with pytest.raises(UserError):
            read(tmp_path, name="It")


def test_honest_files_mean_what_they_meant() -> None:
    """The twin: every recipe reads as PyYAML alone reads it."""
    paths = list(FOLDER.glob("*.yaml"))
    assert len(paths) > 5
    for path in paths:
        assert read_yaml(path, name=path.name) == yaml.safe_load(path.read_text(encoding="utf-8"))
    base = {"kind": "folder", "path": "/a/b"}
    assert parse_config({"data": {"kind": "fewshot", "base": base}, "select": "last"}).data.base_data().kind == "folder"  # type: ignore[union-attr]
    assert values_of("0.001, 5e-4, true, [cls, max]") == [0.001, 0.0005, True, ["cls", "max"]]


def _random_value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth < 6 else 5)
    if kind >= 5:
        count = rng.randrange(5)
        items = [_random_value(rng, depth + 1) for _ in range(count)]
        return (
            items
            if kind == 5
            else {rng.choice(["a", "ü", "1", "x y", "\u202e"]) + str(i): x for i, x in enumerate(items)}
        )
    return [
        rng.random(),
        rng.randrange(-(10**6), 10**6),
        None,
        rng.random() < 0.5,
        rng.choice(["", "no", "1e3", "é\n"]),
    ][kind]


def test_fuzzed_texts_are_read_or_refused() -> None:
    rng = random.Random(15)
    refused = 0
    for _ in range(150):
        value = _random_value(rng, 0)
        text = json.dumps(value)
        assert read_json(text, name="It") == value
        assert read_yaml(yaml.safe_dump(value), name="It") == value
        broken = list(text + yaml.safe_dump(value))
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.choice([*"{}[]:,&*!|>-\"'%\n\t #<", "\x00", "\ud800", "\x1b"])
        for read in (read_json, read_yaml):
            try:
                read("".join(broken), name="It")
            except UserError:
                refused += 1
    assert refused > 150


def test_values_of_a_request_are_bounded() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = {"optim": deep}
    for value in (
        deep,
        {"optim": {"lr": 10**5000}},
        {"x": "y" * 300_000},
        {str(i): i for i in range(30_000)},
        [[]] * 30_000,
    ):
        with cheap(), pytest.raises(UserError):
            check_bounds(value, name="It")
        for parse in (parse_config, parse_plan, lambda content: amend({}, content)):
            with cheap(), pytest.raises(UserError) as error:
                parse(value)
            assert len(str(error.value)) < 1500
    check_bounds({"optim": {"lr": 0.1}, "path": "x" * 5000}, name="It")


LARGE = {
    "text": "x" * 10**6,
    "list": list(range(10**5)),
    "mapping": {"k": "v" * 10**5},
    "number": 10**6000,
    "bytes": b"x" * 10**6,
    "deep": [[[[[[1]]]]]],
}


@pytest.mark.parametrize("name", LARGE)
def test_values_in_messages_are_short(name: str) -> None:
    value = LARGE[name]
    with cheap():
        error = UserError("It does not fit", got=value)
    assert len(str(error)) < 400
    assert error.got is value
    assert len(str(UserError("x" * 10**5, expected="y" * 10**5, remedy="z" * 10**5))) < 4000
    assert brief("chair") == "'chair'" and brief(0.5) == "0.5"


HOSTILE = "a\x1b]0;t\x07b\u202ec\x9bd\re\u2028f\u200bg\x7f\ud800\U000e0041"


def test_what_a_terminal_obeys_is_shown() -> None:
    shown = printable(HOSTILE + "\nnext")
    assert shown.isprintable() and shown.isascii()
    assert printable("Zürich 椅子 🧊") == "Zürich 椅子 🧊"
    assert json.loads(terminal_text(json.dumps({"name": HOSTILE}, ensure_ascii=False)))["name"].startswith("a\x1b")
    assert terminal_text("\r\x1b[2Kbar") == "\r\x1b[2Kbar"
    assert "\x1b" not in terminal_text("bar\x1b[2K") and "\r" not in terminal_text("bar\r")
    assert "\x1b" not in str(UserError(f"{HOSTILE} is wrong", got=HOSTILE, expected=HOSTILE, remedy=HOSTILE))


def test_where_uploads_are_kept_is_not_told() -> None:
    for place in (
        f"/srv/the data/uploads/{'0a' * 16}",
        "/tmp/pointsmith-zip-ab_12",
        "/var/tmp/x/pointsmith-read-q7/tmp",
    ):
        message = str(UserError(f"{place}/a/chair.obj is cut short", got=f"{place}/b.obj", expected=f"{place}/c.obj"))
        assert "/srv" not in message and "pointsmith-" not in message and "uploads" not in message
        assert "chair.obj" in message and "b.obj" in message and "c.obj" in message
    assert str(UserError("no such file", got="/home/ada/chair.obj")) == "no such file: '/home/ada/chair.obj'."


def test_a_setting_without_an_end_is_refused() -> None:
    for value in (float("inf"), float("nan")):
        with pytest.raises(UserError):
            parse_config({"checkpoint_seconds": value})


def test_a_card_of_many_blocks_is_read_in_part(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("```yaml\n[1, 2]\n```\n" * 40_000)
    with cheap(), pytest.raises(UserError):
        reread(card)
