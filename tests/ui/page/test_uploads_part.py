"""Uploads on the Data tab: a visitor sees and deletes his own, and none that a run still needs; curves made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from pointsmith.core.errors import UserError
from pointsmith.ui.access import Access
from pointsmith.ui.curves import Seen
from pointsmith.ui.run_view import undo
from pointsmith.ui.uploads_part import UploadsPart
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore
from pointsmith.worker.upload_room import UploadRoom


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with EmbeddedRedis(tmp_path / "data" / "redis") as server:
        found = RunStore(server.address.url, tmp_path / "data")
        yield found
        found.close()


def test_each_visitor_sees_his_own_uploads(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.data_dir / "uploads"
    for letter, owner in {"a": "of-ann", "b": "of-ben", "c": ""}.items():
        (place / (letter * 32)).mkdir(parents=True)
        (place / (letter * 32) / f"<{letter}>.zip").write_bytes(b"0" * 2000)
        UploadRoom(place).belongs(letter * 32, owner)
    access = Access(place)
    with gr.Blocks():
        part = UploadsPart(store, place, access)
    assert len(part.own()) == 3 and "6.0 kB of 50 GB" in part.shown()  # nobody has a name here
    monkeypatch.setattr(access, "room", lambda: "of-ann")
    assert [one.name for one in part.own()] == ["a" * 32]
    assert "2.0 kB of 12.5 GB" in part.shown()  # a quarter of the room
    assert "&lt;a&gt;.zip" in part.shown() and "<b>" not in part.shown().replace("<b>&lt;", "")
    with pytest.raises(UserError, match="no such upload"):
        part.delete("b" * 32)
    run = store.create({"data": {"path": f"{place}/{'a' * 32}/x.zip"}})
    assert "used by 1 run<" in part.shown()
    with pytest.raises(UserError, match="still needs this upload"):
        part.delete("a" * 32)
    store.cancel(run.id)
    assert part.delete("a" * 32) == "" and not (place / ("a" * 32)).exists()
    assert not (place / "owners" / ("a" * 32)).exists() and (place / ("b" * 32)).exists()


def test_the_bin_tells_how_long_a_run_can_be_had_back(store: RunStore) -> None:
    run = store.create({}, name="Mine & <mine>")
    store.discard(run.id)
    found = store.discarded()
    shown = undo(found, (found[0].discarded or 0) + 240)
    assert (
        "Recently deleted" in shown
        and "Mine &amp; &lt;mine&gt;" in shown
        and "4 min ago; gone for good in about 6 min" in shown
    )
    assert undo([], 0) == ""


def test_what_was_made_of_events_is_made_again_only_when_something_is_new() -> None:
    seen, made = Seen(), list[int]()

    def make() -> int:
        made.append(len(seen.steps))
        return len(seen.steps)

    assert [seen.once("charts", 3, make) for _ in range(3)] == [0, 0, 0] and made == [0]
    seen.add({"kind": "step", "step": 1, "loss": 0.5})
    seen.cursor = "1-0"
    assert [seen.once("charts", 3, make), seen.once("charts", 3, make)] == [1, 1] and made == [0, 1]
    assert seen.once("charts", 4, make) == 1 and made == [0, 1, 1]
