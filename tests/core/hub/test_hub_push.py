"""Pushing to a Hub that speaks the real protocol: what arrives, and what does not when something goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from pointsmith.core.adapters import describe, read_adapter_config, save_adapter
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.hub import push as pushing
from pointsmith.core.hub.client import Hub
from pointsmith.core.hub.history import History
from pointsmith.core.hub.push import push

from tests.support.hub_server import ADA, READER, Fault, serving_hub
from tests.support.hub_server import Hub as Served
from tests.support.tiny import tiny_run

# huggingface_hub 2.4 sends files in a way that httpx2 will give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "ada/shapes"
CLASSES = tuple("abcde")
SCORES = {
    "split": "test",
    "accuracy": 0.8,
    "loss": 0.5,
    "mean_class_accuracy": 0.8,
    "per_class": [1.0, 1.0, 1.0, 1.0, 0.0],
    "confusion": [[2, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 2, 0], [2, 0, 0, 0, 0]],
}
METRICS = {"test_accuracy": 0.8, "selected_on": "last", "best_epoch": 2, "epochs": 2, "scores": [SCORES]}
EVENTS = [
    {"kind": "plan", "steps_per_epoch": 2, "device": "cpu", "precision": "float32", "noun": "clouds"}
    | {"train_clouds": 40, "validation_clouds": 10, "test_clouds": 10},
    *({"kind": "step", "step": i + 1, "loss": 2.0 / (i + 1)} for i in range(4)),
    {"kind": "epoch", "epoch": 1, "train_accuracy": 0.4, "validation_accuracy": 0.3, "seconds": 2.0}
    | {"validation_loss": 1.5, "peak_memory_bytes": 300_000_000},
    {"kind": "epoch", "epoch": 2, "train_accuracy": 0.7, "validation_accuracy": 0.6, "seconds": 2.0}
    | {"validation_loss": 1.0, "peak_memory_bytes": 400_000_000},
    {"kind": "routed", "epoch": 2, "kept": True, "inputs": 8, "load": [[0.5, 0.5], [0.9, 0.1]]},
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(pushing, "PAUSE_SECONDS", 0.01)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving_hub() as served:
        yield served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny adapter with what a run knows of it."""
    run = tiny_run()
    built = build(run, len(CLASSES))
    place = tmp_path_factory.mktemp("run") / "adapter"
    save_adapter(place, built, describe(built, run, CLASSES, fingerprint="f" * 64, metrics=METRICS))
    return place


def ada(served: Served) -> Hub:
    return Hub(ADA, served.url)


def test_one_commit_holds_everything(hub: Served, folder: Path) -> None:
    told: list[tuple[str, float]] = []
    done = push(
        folder,
        NAME,
        hub=ada(hub),
        history=History.of(EVENTS),
        command=lambda run: f"pointsmith train --method {run.method.kind}",
        told=lambda what, share: told.append((what, share)),
    )
    repo = hub.repos["model", NAME]
    assert [one.title for one in repo.commits] == ["initial commit", "dapt adapter for 5 classes"]
    assert done.revision == repo.commits[-1].oid and done.created and not done.private
    assert done.url == f"{hub.url}/{NAME}"
    files = hub.files(NAME)
    pictures = {f"pictures/{name}.png" for name in ("curves", "confusion", "routing")}
    named = {"adapter_model.safetensors", "adapter_config.json", "config.json", "README.md", ".gitattributes"}
    assert set(files) == named | pictures
    assert all(files[name].startswith(b"\x89PNG") for name in pictures)
    assert files["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()
    assert repo.commits[-1].files["adapter_model.safetensors"].lfs
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and any("MB" in what for what, _ in told)

    text = files["README.md"].decode()
    card = ModelCard(text, ignore_metadata_errors=False)
    assert (card.data.library_name, card.data.license) == ("pointsmith", "apache-2.0")
    result = card.data.eval_results[0]
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.8, "test")
    for said in ("pointsmith train --method dapt", f'Predictor.load("{NAME}")', "400 MB", "arXiv", "f" * 64, "80.00 %"):
        assert said in text, said
    assert all(f"]({name})" in text for name in pictures)


def test_a_published_backbone_is_named_as_the_base(hub: Served, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "adapter_config.json").read_text())
    content["run"]["backbone"] = {"kind": "point-mae"}
    content["backbone"]["kind"] = "point-mae"
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    (tmp_path / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    push(tmp_path, NAME, hub=ada(hub), private=True)
    card = ModelCard(hub.files(NAME)["README.md"].decode())
    assert card.data.base_model == ["torch-pointcloud/point-mae-base.pretrain.yatian-pang"]
    assert card.data.base_model_relation == "adapter"
    assert hub.repos["model", NAME].private
    assert "Masked Autoencoders for Point Cloud" in card.text


def test_a_card_of_parts_has_its_metric_and_no_empty_pictures(hub: Served, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "adapter_config.json").read_text())
    parts = {**SCORES, "metric": "mIoU", "confusion": [], "per_class": [0.5, None, 0.5, 0.5, 0.5]}
    content["metrics"] |= {"metric": "mIoU", "scores": [parts]}
    content["part_names"] = [["seat", "leg"]] * 5
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    (tmp_path / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    push(tmp_path, NAME, hub=ada(hub), history=History())
    assert not any(path.startswith("pictures/") for path in hub.files(NAME))
    card = ModelCard(hub.files(NAME)["README.md"].decode(), ignore_metadata_errors=False)
    assert (card.data.eval_results[0].metric_type, card.data.eval_results[0].metric_value) == ("mean_iou", 0.8)
    assert "part-segmentation" in card.data.tags and "mIoU by category" in card.text


def test_a_second_push_replaces_the_first_and_takes_its_pictures_away(hub: Served, folder: Path) -> None:
    first = push(folder, NAME, hub=ada(hub), history=History.of(EVENTS))
    second = push(folder, NAME, hub=ada(hub), history=History())
    assert not second.created and second.revision != first.revision
    assert "pictures/curves.png" not in hub.files(NAME) and "pictures/confusion.png" in hub.files(NAME)
    # The same again changes nothing but the commit that is named.
    third = push(folder, NAME, hub=ada(hub), history=History())
    assert third.revision == second.revision


def test_places_of_this_disk_do_not_travel(hub: Served, folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "adapter_config.json").read_text())
    content["run"]["backbone"]["weights"] = "/home/ada/secret-project/backbone.safetensors"
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    (tmp_path / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
    push(tmp_path, NAME, hub=ada(hub), command=lambda run: f"with {run.backbone.weights}")
    assert all(b"secret-project" not in content for content in hub.files(NAME).values())
    assert b"with backbone.safetensors" in hub.files(NAME)["README.md"]


@pytest.mark.parametrize(
    ("token", "name", "said"),
    [
        (False, NAME, "no login"),
        ("hf_" + "X" * 34, NAME, "does not accept the token"),
        (READER, NAME, "may not write to ada/shapes"),
        (ADA, "eve/shapes", "may not write to eve/shapes"),
    ],
)
def test_missing_rights_are_said(hub: Served, folder: Path, token: str | bool, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        push(folder, name, hub=Hub(token, hub.url))
    assert not hub.repos
    assert "hf_X" not in str(caught.value) and "hf_X" not in repr(Hub(token, hub.url))


def test_an_offline_machine_is_told_so(folder: Path) -> None:
    with pytest.raises(UserError, match="no connection"):
        push(folder, NAME, hub=Hub(ADA, "http://127.0.0.1:9"))


@pytest.mark.parametrize("name", ["shapes", "a/b/c", "ada/../x", "ada/shapes@v1", "ada/-x", ""])
def test_names_are_checked_before_anything_is_asked(hub: Served, folder: Path, name: str) -> None:
    with pytest.raises(UserError):
        push(folder, name, hub=ada(hub))
    assert hub.requests == []


def test_somebody_else_in_between_is_a_conflict_and_nothing_is_written(hub: Served, folder: Path) -> None:
    push(folder, NAME, hub=ada(hub))
    hub.before_commit = lambda: hub.add("model", NAME, {"note.txt": b"theirs"}) and None
    with pytest.raises(UserError, match=r"somebody else changed .* nothing was written"):
        push(folder, NAME, hub=ada(hub), history=History.of(EVENTS))
    assert hub.files(NAME)["note.txt"] == b"theirs" and "pictures/curves.png" not in hub.files(NAME)


def test_a_renamed_repository_is_said(hub: Served, folder: Path) -> None:
    push(folder, "ada/new", hub=ada(hub))
    hub.renamed[NAME] = "ada/new"
    with pytest.raises(UserError, match="was renamed: 'ada/new'"):
        push(folder, NAME, hub=ada(hub))


def test_what_is_no_adapter_of_ours_is_not_written_over(hub: Served, folder: Path) -> None:
    hub.add("model", NAME, {"model.safetensors": b"theirs"})
    hub.add("model", "ada/peft", {"adapter_config.json": b"{}", "README.md": b"---\nlibrary_name: peft\n---\n"})
    for name in (NAME, "ada/peft"):
        with pytest.raises(UserError, match="holds something else"):
            push(folder, name, hub=ada(hub))
    assert len(hub.repos["model", NAME].commits) == 2


def test_a_public_repository_does_not_take_what_shall_be_private(hub: Served, folder: Path) -> None:
    push(folder, NAME, hub=ada(hub))
    with pytest.raises(UserError, match="public already"):
        push(folder, NAME, hub=ada(hub), private=True)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/api/validate-yaml", cut=0),
        Fault("/commit/main", status=503),
        Fault("/commit/main", cut=0),
        Fault("PUT /lfs/", status=500),
        Fault("PUT /lfs/", cut=0, pause=0.2),
    ],
    ids=["validate-cut", "commit-503", "commit-cut", "upload-500", "upload-slow-cut"],
)
def test_a_fault_in_passing_is_tried_again(hub: Served, folder: Path, fault: Fault) -> None:
    hub.faults.append(fault)
    done = push(folder, NAME, hub=ada(hub))
    assert [one.oid for one in hub.repos["model", NAME].commits][1:] == [done.revision]


def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: Served, folder: Path) -> None:
    hub.faults.append(Fault("/commit/main", after=True))
    done = push(folder, NAME, hub=ada(hub))
    assert [one.oid for one in hub.repos["model", NAME].commits][1:] == [done.revision]


def test_a_lasting_fault_publishes_nothing_and_says_what_is_left(hub: Served, folder: Path) -> None:
    hub.faults.append(Fault("/commit/main", status=500, times=99))
    with pytest.raises(UserError, match=r"HTTP 500.*was made and is empty"):
        push(folder, NAME, hub=ada(hub))
    assert set(hub.files(NAME)) == {".gitattributes"}


def test_a_damaged_adapter_is_not_pushed(hub: Served, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes((folder / "adapter_config.json").read_bytes())
    (tmp_path / "adapter_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="cannot be read"):
        push(tmp_path, NAME, hub=ada(hub))
    assert hub.requests == []


def test_older_adapters_still_load(folder: Path) -> None:
    """The files that were written before adapters could be pushed: nothing was added to the format."""
    content = json.loads((folder / "adapter_config.json").read_text())
    assert content["format_version"] == 1
    assert read_adapter_config(folder).adapter_type == "dapt"
