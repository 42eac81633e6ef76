"""The Share part of a run: who may, what is pushed and noted, what verifying says; against a real Hub's protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import pytest
from gradio.context import LocalContext
from pointsmith.core.errors import UserError
from pointsmith.core.hub.client import Hub
from pointsmith.core.training import train
from pointsmith.ui import share as share_module
from pointsmith.ui.access import Access
from pointsmith.ui.gallery import rows
from pointsmith.ui.hub_login import LEND, reading_hub, writing_hub
from pointsmith.ui.predict_page import PredictPage
from pointsmith.ui.share import SharePart
from pointsmith.ui.sharing import remembered
from pointsmith.ui.shelf import ExampleShelf, HubShelf, RunShelf, Shelves
from pointsmith.worker.quotas import QuotaExceeded, require_count
from pointsmith.worker.run import Run
from pointsmith.worker.store import RunStore

from tests.support.hub_server import ADA, serving_hub
from tests.support.hub_server import Hub as Served
from tests.support.tiny import tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
NAME = "ada/shapes"


@pytest.fixture(scope="module")
def run(store: RunStore) -> Run:
    """A finished run of Ada's with a real adapter and its events."""
    config = tiny_run(epochs=1)
    made = store.create(config, name="Shapes", owner="ada")
    claim = store.ledger.claim(made.id, "w")
    assert claim is not None
    events = list(train(config, made.folder, device="cpu"))
    lines = [(1, i + 1, event.model_dump_json()) for i, event in enumerate(events)]
    store.ledger.append(claim, lines, {}, 0)
    store.ledger.finish(claim, "succeeded", result=events[-1].model_dump(mode="json"))
    return store.get(made.id)


@pytest.fixture
def served(run: Run) -> Iterator[Served]:
    (run.folder / "shared.json").unlink(missing_ok=True)
    with serving_hub() as served:
        yield served


@pytest.fixture
def part(store: RunStore, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharePart:
    """The part on a page without logins, whose machine is logged in as Ada."""
    access = Access(store.data_dir / "uploads")
    monkeypatch.setattr(share_module, "writing_hub", lambda _: Hub(ADA, served.url))
    shelf = HubShelf(lambda: Hub(False, served.url), lambda: tmp_path / "shelf")
    with gr.Blocks():
        return SharePart(access.runs(store), access, shelf)


def done(part: SharePart, run: Run) -> str:
    """Wait for what goes on, and return what is said then."""
    deadline = time.monotonic() + 60
    while part.sharing.task(run.id) and not part.sharing.task(run.id).over and time.monotonic() < deadline:
        time.sleep(0.05)
    return str(part.view(run.id)[1])


def test_push_verify_and_demo_are_said_and_remembered(part: SharePart, run: Run, served: Served) -> None:
    assert "No path of this machine" in part.view(run.id)[1]
    busy = part.pushing(run.id, NAME, True)
    assert isinstance(busy[-1], gr.Timer) and busy[-1].active
    said = done(part, run)
    revision = served.repos["model", NAME].commits[-1].oid
    assert revision in said and "(private)" in said and f"pointsmith predict {NAME}@{revision}" in said
    assert {"pictures/curves.png", "adapter_config.json"} <= set(served.files(NAME))
    assert b"pointsmith train --data demo" in served.files(NAME)["README.md"]

    part.shelf.login = lambda: Hub(ADA, served.url)
    part.verifying(run.id)
    said = done(part, run)
    assert "does what its card says" in said and "the same" in said

    part.demonstrating(run.id, "cpu")
    said = done(part, run)
    assert "a secret HF_TOKEN" in said
    assert f"{NAME}-demo" in said and served.repos["space", f"{NAME}-demo"].private
    assert {"app.py", "README.md", "requirements.txt", "pointsmith/ui/demo.py"} <= set(
        served.files(f"{NAME}-demo", "space")
    )
    # A new page, as after a restart, knows it from the run's folder; no token is there.
    note = (run.folder / "shared.json").read_text()
    assert json.loads(note)["push"]["revision"] == revision and "hf_" not in note
    redis = part.sharing and part.runs._store.ledger.redis
    assert ADA not in "".join(str(redis.hgetall(key)) for key in redis.scan_iter() if redis.type(key) == "hash")
    assert not any(ADA.encode() in path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert part.opened(run.id)[-2:] == [NAME, True]


def test_a_visitor_pulls_only_so_many_adapters(part: SharePart, run: Run, served: Served, tmp_path: Path) -> None:
    part.pushing(run.id, NAME, False)
    done(part, run)
    commit = served.repos["model", NAME].commits[-1].oid

    def require_room(count: int) -> None:
        require_count(count, 1, "pulled adapters")

    shelf = HubShelf(lambda: Hub(False, served.url), lambda: tmp_path / "pulled", require_room=require_room)
    assert shelf.find(NAME) is not None
    assert shelf.find(f"{NAME}@{commit}") is not None  # the same one again
    with pytest.raises(QuotaExceeded):
        shelf.find("eve/another")


def test_what_goes_wrong_is_said_on_the_page(part: SharePart, run: Run, served: Served) -> None:
    part.pushing(run.id, "eve/shapes", False)
    said = done(part, run)
    assert "may not write to eve/shapes" in said and "ps-notice-error" in said
    assert remembered(run.folder) == {}


def test_names_and_foreign_runs_are_refused_at_once(
    part: SharePart, store: RunStore, run: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, title="": warned.append(text))
    part.pushing(run.id, "no name", False)
    part.verifying(run.id)  # nothing was pushed yet
    access = Access(store.data_dir / "uploads", "accounts")
    with gr.Blocks():
        bens = SharePart(access.runs_of(store, "ben"), access, part.shelf)
    assert bens.view(run.id)[0] == gr.update(visible=False)
    for act in (lambda: bens.pushing(run.id, NAME, False), lambda: bens.verifying(run.id)):
        act()
    assert [one.split(".")[0].split(":")[0] for one in warned] == [
        "A repository is named by its owner and its name",
        "This run was not pushed yet",
        "There is no such run",
        "There is no such run",
    ]
    assert served.requests == []


def asking(scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    request = type("Request", (), {"scope": scope})()
    LocalContext.request.set(type("Asking", (), {"request": request, "username": "x"})())  # type: ignore[arg-type]


@pytest.fixture
def _request() -> Iterator[None]:
    before = LocalContext.request.get(None)
    yield
    LocalContext.request.set(before)


@pytest.mark.usefixtures("_request")
def test_whose_login_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEND, raising=False)
    opened, accounts, space = (Access(tmp_path, door) for door in ("open", "accounts", "oauth"))
    assert writing_hub(opened).token is None  # this machine's own
    assert reading_hub(accounts).token is False
    with pytest.raises(UserError, match="no login for the Hub"):
        writing_hub(accounts)
    monkeypatch.setenv(LEND, "1")
    assert writing_hub(accounts).token is None
    asking({"session": {}}, monkeypatch)
    assert reading_hub(space).token is False
    with pytest.raises(UserError, match="not signed in"):
        writing_hub(space)
    asking({"session": {"oauth_info": {"access_token": "visitor's", "expires_at": time.time() + 60}}}, monkeypatch)
    assert writing_hub(space).token == "visitor's" == reading_hub(space).token
    asking({"session": {"oauth_info": {"access_token": "visitor's", "expires_at": time.time() - 60}}}, monkeypatch)
    with pytest.raises(UserError, match="not signed in"):
        writing_hub(space)


def test_an_id_of_the_hub_predicts_on_the_page(
    part: SharePart, store: RunStore, run: Run, served: Served, tmp_path: Path
) -> None:
    part.pushing(run.id, NAME, False)
    done(part, run)
    runs = Access(store.data_dir / "uploads").runs(store)
    with gr.Blocks():
        page = PredictPage(Shelves([RunShelf(runs), part.shelf]))
    answer: Callable[..., list[Any]] = page.sample
    pulled = answer(None, NAME, None)[2]
    assert 'id="label"' in pulled, pulled
    keys = [key for _, key in page.choose(None)["choices"]]
    assert keys == [run.id, f"{NAME}@{served.repos['model', NAME].commits[-1].oid}"]
    assert 'id="label"' in answer(keys[1], "", None)[2]
    shown = rows(page.shelf.entries())
    assert f'href="?adapter={run.id}"' in shown and "A finished run" in shown and "Shapes" in shown
    assert f'href="?adapter={quote(keys[1])}"' in shown and "Pulled, " in shown
    assert page.choose("ada/other")["value"] == "ada/other"
    assert "no ada/other, or it is private" in answer("ada/other", "", None)[2]


def test_the_example_that_ships_answers() -> None:
    (title, key), *_ = ExampleShelf().listed()
    assert title.startswith("Example: fifteen objects · 9")
    with gr.Blocks():
        page = PredictPage(Shelves([ExampleShelf()]))
    assert page.choose(None)["value"] == key
    assert '<h2 id="label">' in page.sample(key, "", "chair")[2]
    assert "There is no such example" in page.sample("example:../../etc", "", None)[2]
