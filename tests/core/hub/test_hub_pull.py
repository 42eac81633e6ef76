"""Pulling by id: pinned, checked before it is loaded, kept, and there again without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.adapter_gate import require_backbone
from pointsmith.core.adapters import describe, save_adapter
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.hub import pull as pulling
from pointsmith.core.hub.client import Hub
from pointsmith.core.hub.place import HubId, hub_id, named_on_hub
from pointsmith.core.hub.pull import kept, pull
from pointsmith.core.hub.push import push
from pointsmith.core.models import download
from pointsmith.core.predict import Predictor

from tests.support.hub_server import ADA, Fault, serving_hub
from tests.support.hub_server import Hub as Served
from tests.support.tiny import tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
NAME = "ada/shapes"
CLASSES = tuple("abcde")
CLOUDS = list(np.random.default_rng(0).normal(size=(3, 64, 3)).astype(np.float32))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving_hub() as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tiny_run({"kind": "lora", "rank": 2})
    built = build(run, len(CLASSES))
    place = tmp_path_factory.mktemp("run") / "adapter"
    save_adapter(place, built, describe(built, run, CLASSES, metrics={"test_accuracy": 0.5}))
    return place


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(folder: Path, change) -> dict[str, bytes]:
    """The adapter's files with its config changed."""
    content = json.loads((folder / "adapter_config.json").read_text())
    change(content)
    return {**files_of(folder), "adapter_config.json": json.dumps(content).encode()}


def logits(folder: Path) -> np.ndarray:
    return np.stack([one.logits for one in Predictor.load(folder).predict(CLOUDS)])


def test_what_was_pushed_answers_the_same_and_is_pinned(hub: Served, folder: Path, shelf: Path) -> None:
    done = push(folder, NAME, hub=Hub(ADA, hub.url))
    got = pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    assert got.id == HubId(NAME, done.revision) and got.folder.name == done.revision
    assert np.array_equal(logits(got.folder), logits(folder))
    (one,) = kept(shelf)
    assert (one.id, one.score) == (got.id, 0.5)


def test_it_is_fetched_once_and_there_without_a_network(hub: Served, folder: Path, shelf: Path) -> None:
    first = hub.add("model", NAME, files_of(folder))
    pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    hub.requests.clear()
    assert pull(HubId(NAME, first), hub=Hub(False, hub.url), shelf=shelf).folder.is_dir()
    assert hub.requests == []  # a commit never changes
    pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    assert hub.requests == [f"GET /api/models/{NAME}/revision/main"]
    gone = pull(HubId(NAME), hub=Hub(False, "http://127.0.0.1:9"), shelf=shelf)
    assert gone.offline and gone.id.revision == first
    with pytest.raises(UserError, match="no connection"):
        pull(HubId("ada/other"), hub=Hub(False, "http://127.0.0.1:9"), shelf=shelf)


def test_a_branch_moves_and_a_commit_does_not(hub: Served, folder: Path, shelf: Path) -> None:
    first = hub.add("model", NAME, files_of(folder))
    second = hub.add("model", NAME, {"README.md": b"changed"})
    anyone = Hub(False, hub.url)
    assert pull(HubId(NAME), hub=anyone, shelf=shelf).id.revision == second
    assert pull(HubId(NAME, first), hub=anyone, shelf=shelf).id.revision == first
    with pytest.raises(UserError, match="no such revision"):
        pull(HubId(NAME, "v9"), hub=anyone, shelf=shelf)


def test_a_private_one_needs_a_login_and_a_missing_one_is_said(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, files_of(folder), private=True)
    for token, name in ((False, NAME), (ADA, "ada/nothing")):
        with pytest.raises(UserError, match=f"no {name}, or it is private"):
            pull(HubId(name), hub=Hub(token, hub.url), shelf=shelf)
    assert pull(HubId(NAME), hub=Hub(ADA, hub.url), shelf=shelf).folder.is_dir()


@pytest.mark.parametrize("place", ["/cdn/", "resolve/.*/adapter_config.json"])
def test_wrong_bytes_are_refused_and_nothing_is_kept(hub: Served, folder: Path, shelf: Path, place: str) -> None:
    hub.add("model", NAME, files_of(folder))
    hub.faults.append(Fault(f"GET .*{place}", corrupt=True))
    with pytest.raises(UserError, match=r"SHA-256|as it is on the Hub"):
        pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    assert kept(shelf) == []
    assert pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf).folder.is_dir()


def test_a_broken_and_slow_transfer_goes_on_where_it_broke(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, files_of(folder))
    hub.faults.append(Fault("GET /cdn/", cut=5000, pause=0.2))
    told: list[int] = []
    pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf, report=lambda progress: told.append(progress.done_bytes))
    assert 5000 in told and len([one for one in hub.requests if "/cdn/" in one]) == 2


def test_a_damaged_copy_is_fetched_again(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, files_of(folder))
    got = pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    weights = got.folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="no connection"):
        pull(got.id, hub=Hub(False, "http://127.0.0.1:9"), shelf=shelf)
    assert np.array_equal(logits(pull(got.id, hub=Hub(False, hub.url), shelf=shelf).folder), logits(folder))


REFUSED = {
    "unknown format": (lambda c: c.update(format_version=99), "unknown format version: 99"),
    "unknown key": (lambda c: c.update(hook="x"), "unknown key hook"),
    "unknown backbone": (lambda c: c["run"]["backbone"].update(kind="llama"), "llama"),
    "a place on a disk": (lambda c: c["run"]["backbone"].update(weights="/etc/passwd"), "place on its maker's disk"),
    "data on a disk": (
        lambda c: c["run"].update(data={"kind": "folder", "path": "/home/ada", "preparation": {"points": 64}}),
        "names data by places",
    ),
    "too large": (
        lambda c: c["run"]["backbone"].update(dim=2048, depth=48, heads=2),
        "too large to be loaded unseen|do not fit",
    ),
    "weights of another": (lambda c: c["run"]["backbone"].update(dim=768, depth=12), "do not fit its config"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_it_is_loaded(
    hub: Served, folder: Path, shelf: Path, change, said: str
) -> None:
    hub.add("model", NAME, changed(folder, change))
    with pytest.raises(UserError, match=said):
        pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    assert kept(shelf) == []


def test_another_backbone_than_it_was_trained_on_is_refused(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, changed(folder, lambda c: c["backbone"].update(sha256="0" * 64)))
    got = pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    with pytest.raises(UserError, match=r"not the one .* trained on"):
        Predictor.load(got.folder)


def test_a_backbone_file_of_its_maker_has_to_be_given(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, changed(folder, lambda c: c["run"]["backbone"].update(weights="mine.safetensors")))
    pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    (one,) = kept(shelf)
    with pytest.raises(UserError, match=r"needs a backbone file .*--backbone-weights"):
        require_backbone(one.config, NAME)


def test_pickles_and_other_repositories_are_refused(hub: Served, folder: Path, shelf: Path) -> None:
    hub.add("model", NAME, {"adapter_config.json": b"{}", "adapter_model.bin": b"x"})
    with pytest.raises(UserError, match=r"adapter_model\.bin, which is not read"):
        pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    hub.add("model", "ada/other", {"model.safetensors": b"x"})
    with pytest.raises(UserError, match="holds no adapter of Pointsmith"):
        pull(HubId("ada/other"), hub=Hub(False, hub.url), shelf=shelf)


def test_only_the_known_files_are_fetched_and_large_ones_are_refused(
    hub: Served, folder: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", NAME, {**files_of(folder), "evil.py": b"import os", "extra.bin": b"x" * 9000})
    got = pull(HubId(NAME), hub=Hub(False, hub.url), shelf=shelf)
    known = {"adapter_config.json", "adapter_model.safetensors", "README.md", "config.json", "pulled.json"}
    assert {path.name for path in got.folder.iterdir()} == known
    monkeypatch.setitem(pulling._NEEDED, "adapter_model.safetensors", 1000)
    hub.add("model", "ada/large", files_of(folder))
    with pytest.raises(UserError, match="too large"):
        pull(HubId("ada/large"), hub=Hub(False, hub.url), shelf=shelf)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada/shapes", HubId("ada/shapes")),
        ("hf://ada/shapes@v1.2", HubId("ada/shapes", "v1.2")),
        (f"a-b/c.d_e@{'0' * 40}", HubId("a-b/c.d_e", "0" * 40)),
        ("runs/demo/adapter", None),
        ("adapter", None),
        ("../shapes", None),
        ("ada/..", None),
        ("/ada/shapes", None),
        ("ada/sha--pes", None),
        ("ada/shapes@", None),
    ],
)
def test_ids(text: str, found: HubId | None) -> None:
    assert hub_id(text) == found


def test_a_folder_that_is_here_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_on_hub("ada/shapes") == HubId("ada/shapes")
    (tmp_path / "ada" / "shapes").mkdir(parents=True)
    assert named_on_hub("ada/shapes") is None


def test_three_lines_in_a_fresh_process_predict(hub: Served, folder: Path, tmp_path: Path) -> None:
    """What the card shows: loading by id alone, and the same numbers."""
    push(folder, NAME, hub=Hub(ADA, hub.url))
    card = hub.files(NAME)["README.md"].decode()
    lines = card.split("```python\n")[1].split("```")[0]
    points = "import numpy as np\npoints = np.random.default_rng(0).normal(size=(3, 64, 3)).astype(np.float32)[0]\n"
    script = points + lines + "\nprint(predictor.predict([points])[0].logits.tolist())"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "POINTSMITH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    label, numbers = done.stdout.splitlines()
    assert label in CLASSES
    assert np.allclose(json.loads(numbers), logits(folder)[0], atol=1e-6)
