"""`pointsmith fetch` and `pointsmith backbones`: weights come, are listed, and are explained where they cannot."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from pointsmith.core.config import choices
from pointsmith.core.events import Stage
from pointsmith.core.models.source import Source
from pointsmith.ui.cli.narrator import Narrator

from tests.support.cli import Call
from tests.support.file_server import COMMIT, Served, serving

CONTENT = bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield tmp_path / "cache"
    huggingface_hub.close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A Hub that has Point-MAE, or what passes for it."""
    with serving(CONTENT) as served:
        served.linked_sha256 = served.sha256
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def entry(call: Call, kind: str) -> dict[str, Any]:
    return next(row for row in json.loads(call("backbones", "--json").stdout) if row["kind"] == kind)


def line(call: Call, kind: str) -> str:
    return next(line for line in call("backbones").stdout.splitlines() if line.startswith(f"{kind} "))


def test_fetch_then_listed(call: Call, hub: Served, cache: Path) -> None:
    before = entry(call, "point-mae")
    place = cache / "weights" / "point-mae" / "model.safetensors"
    assert (before["present"], before["path"], before["place"]) == (False, None, str(place))
    assert before["revision"] == COMMIT and before["address"].endswith(f"/resolve/{COMMIT}/model.safetensors")
    assert "pointsmith fetch point-mae" in line(call, "point-mae")
    assert hub.requests == []
    said = call("fetch", "point-mae").stdout.splitlines()
    assert "model.safetensors" in said[0] and "\r" not in "".join(said)
    assert all(value in said[-1] for value in ("point-mae", "512.0 kB", str(place)))
    after = entry(call, "point-mae")
    assert (after["present"], after["path"], after["bytes"]) == (True, str(place), len(CONTENT))
    assert after["held_to_sha256"] == hub.sha256
    assert f"512.0 kB, {place}" in line(call, "point-mae")


def test_fetch_in_json_says_whether_it_came_now(call: Call, hub: Served) -> None:
    first = call("fetch", "point-mae", "--json")
    assert "model.safetensors" in first.stderr
    found = json.loads(first.stdout)
    assert found["downloaded"] and found["sha256"] == hub.sha256 and Path(found["path"]).read_bytes() == CONTENT
    assert not json.loads(call("fetch", "point-mae", "--json").stdout)["downloaded"]
    assert hub.gets() == [None]
    assert json.loads(call("fetch", "point-mae", "--json", "--force").stdout)["downloaded"]
    assert hub.gets() == [None, None]


def test_a_failure_is_one_sentence_and_the_next_call_resumes(call: Call, hub: Served) -> None:
    hub.status = 404
    failed = call("fetch", "point-mae")
    assert failed.exit_code == 2 and "model.safetensors" in failed.stderr
    hub.status = 200
    assert call("fetch", "point-mae").exit_code == 0


def test_what_cannot_be_fetched(call: Call) -> None:
    own = call("fetch", "own")
    assert own.exit_code == 2 and "own" in own.stderr
    assert "point-mae" in call("fetch", "point-mea").stderr
    shipped = json.loads(call("fetch", "demo", "--json").stdout)
    assert Path(shipped["path"]).is_file() and not shipped["downloaded"]


def test_by_hand_is_listed_and_said(call: Call, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand = Source(layout="pointmae/pretrain", homepage="https://example.org/weights")
    monkeypatch.setattr(choices("backbone")["point-mae"], "source", by_hand)
    folder = cache / "weights" / "point-mae"
    listed = line(call, "point-mae")
    for text in (listed, call("fetch", "point-mae").stderr):
        assert "example.org" in text and "pretrain.pth" in text and str(folder) in text
    folder.mkdir(parents=True)
    (folder / "pretrain.pth").write_bytes(CONTENT)
    assert f"512.0 kB, {folder / 'pretrain.pth'}" in line(call, "point-mae")
    assert call("fetch", "point-mae").exit_code == 0


def test_the_list_makes_no_weights_and_counts_as_before(call: Call) -> None:
    counted = {row["kind"]: row["parameters"] for row in json.loads(call("backbones", "--json").stdout)}
    assert counted["demo"] == 2_816_128 and counted["point-mae"] == 21_825_792
    for kind in ("demo", "own"):
        built = choices("backbone")[kind]().build("every-block")
        assert counted[kind] == sum(parameter.numel() for parameter in built.parameters())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(stream: io.StringIO, total: int | None) -> str:
    narrator = Narrator(stream)
    for done in range(0, 200_000_001, 1_000_000):
        narrator.tell(Stage(stage="backbone", message=f"Downloading x: {done // 1_000_000} MB", done=done, total=total))
    narrator.tell(Stage(stage="backbone", message="Loading x"))
    return stream.getvalue()


def test_a_download_is_a_bar_on_a_terminal_and_few_lines_elsewhere() -> None:
    bar = tell(Terminal(), 200_000_000)
    assert "Downloading x: 100 MB  [" in bar and "]  50 %" in bar and "] 100 %" in bar
    assert bar.count("\n") == 1 and bar.endswith("\x1b[2Kbackbone: Loading x\n")
    plain = tell(io.StringIO(), 200_000_000)
    assert plain.count("\n") == 12 and "\r" not in plain and "Downloading x: 200 MB\n" in plain
    assert tell(io.StringIO(), None).count("\n") == 6
    assert "Downloading x: 200 MB" in tell(Terminal(), None)


def test_the_log_of_a_worker_has_only_the_end_of_a_download() -> None:
    from pointsmith.worker.trainer import say

    assert say(Stage(stage="backbone", message="Downloading x", done=5, total=10)) == ""
    assert say(Stage(stage="backbone", message="Downloading x", done=10, total=10)) == "backbone: Downloading x"
