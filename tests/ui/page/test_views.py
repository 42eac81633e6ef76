"""Curves, the run's page as text, sizes and warnings: what a person reads is right and escaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.building import build
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.errors import UserError
from pointsmith.ui import pieces, run_view
from pointsmith.ui.curves import POINTS, Seen, charts, thinned
from pointsmith.ui.review import check_files, sizes, warnings
from pointsmith.worker.run import Run

SMALL = {"kind": "own", "dim": 24, "depth": 1, "heads": 2, "widths": [8, 8, 8], "groups": 8, "group_size": 8}


def a_run(**changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": "0" * 24,
        "name": "<b>mine</b>",
        "state": "running",
        "created": 1000.0,
        "started": 1001.0,
        "finished": None,
        "worker": "w1",
        "attempt": 1,
        "position": None,
        "config": RunConfig().to_dict(),
        "progress": {"stage": "train", "epoch": 2, "epochs": 4, "step": 10, "steps": 40, "eta_seconds": 75.0},
        "error": None,
        "result": None,
        "folder": Path("/nowhere"),
    }
    return Run(**(values | changes))


def test_header_says_where_a_run_stands() -> None:
    html = run_view.header(a_run(), Seen(), [], 1031.0)
    assert re.search(r"\b2\D+4\D+10\D+40\D+1 min 15 s", html)
    assert "&lt;b&gt;mine" in html and "<b>mine" not in html
    assert 'aria-valuenow="25"' in html


def test_header_of_a_waiting_run_without_workers() -> None:
    html = run_view.header(a_run(state="queued", started=None, position=3, attempt=0, progress={}), Seen(), [], 1031.0)
    assert 'data-state="queued"' in html and re.search(r"\b3\b.*`pointsmith worker`", html)


def test_header_of_a_failed_run_gives_reason_and_last_lines() -> None:
    error = {"kind": "memory", "message": "The GPU is out of memory.", "log": [f"line {i}" for i in range(40)]}
    run = a_run(state="failed", finished=1100.0, error=error)
    html = run_view.header(run, Seen(), [], 1200.0) + run_view.remedies(run, [])
    assert (
        "The GPU is out of memory." in html
        and "line 39" in html
        and "1 min 39 s" in html
        and 'data-state="failed"' in html
    )


def test_empty_list_says_what_to_do() -> None:
    assert 'class="ps-empty"' in run_view.run_list([], [], 0.0)


def test_curves_follow_the_events() -> None:
    seen = Seen()
    seen.add({"kind": "plan", "steps_per_epoch": 4})
    for step in range(1, 9):
        seen.add({"kind": "step", "step": step, "loss": 1 / step})
    seen.add({"kind": "epoch", "epoch": 1, "train_accuracy": 0.5, "validation_loss": 0.3, "validation_accuracy": None})
    loss, accuracy, *small = charts("r", seen, 2)["charts"]
    assert len(loss["series"]) == 2
    assert loss["series"][0]["x"] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert len(accuracy["series"]) == 1  # unknown accuracies draw nothing
    assert [one["id"] for one in small] == ["lr", "norm", "speed", "memory"] and all(one["small"] for one in small)


def test_long_curves_are_averaged_but_end_exactly() -> None:
    x = [float(i) for i in range(10_001)]
    xs, ys = thinned(x, [value * 2 for value in x])
    assert len(xs) <= POINTS and xs[-1] == 10_000 and ys[-1] == 20_000
    assert xs == sorted(xs) and all(y == pytest.approx(2 * value) for value, y in zip(xs, ys, strict=True))


def test_confusion_names_what_was_called_what() -> None:
    html = run_view.confusion(["cat", "<dog>"], [[3, 1], [0, 4]])
    assert re.search(r'title="1 × cat [^"]*&lt;dog&gt;"', html) and "<dog>" not in html


def test_sizes_are_the_models_own() -> None:
    config = parse_config({"backbone": SMALL, "data": {"kind": "demo"}})
    found, classes, guessed = sizes(config)
    built = build(parse_config({"backbone": SMALL, "data": {"kind": "demo"}}), 15)
    assert (found.trainable, found.total) == built.model.count()
    stored = built.model.adapter_state().values()
    assert found.adapter_bytes == sum(tensor.numel() * tensor.element_size() for tensor in stored)
    assert (classes, guessed) == (15, False)


def test_classes_of_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    config = parse_config({"backbone": SMALL, "data": {"kind": "folder", "path": str(tmp_path)}})
    assert sizes(config)[1:] == (3, False)


def test_missing_files_are_refused_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"/none\b"):
        check_files(parse_config({"data": {"kind": "folder", "path": str(tmp_path / "none")}}))
    with pytest.raises(UserError, match=r"/none\.pth"):
        check_files(parse_config({"backbone": {"kind": "own", "weights": "/none.pth"}}))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UserError, match=r"text\.zip"):
        check_files(parse_config({"data": {"kind": "folder", "path": str(tmp_path / "text.zip")}}))


def test_files_of_image_data_are_looked_for(tmp_path: Path) -> None:
    vit = {"kind": "vit-b16", "weights": "random"}

    def of(**data: Any) -> RunConfig:
        return parse_config({"backbone": vit, "data": data, "select": "last"})

    with pytest.raises(UserError, match=r"/none\b"):
        check_files(of(kind="vtab", path=str(tmp_path / "none")))
    (tmp_path / "train.csv").write_text("a.png,x\n")
    check_files(of(kind="images", path=str(tmp_path / "train.csv")))
    with pytest.raises(UserError, match=r"test\.csv"):
        check_files(of(kind="images", path=str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv")))
    assert sizes(of(kind="vtab", path=str(tmp_path), task="dtd"))[1:] == (47, False)


def test_choosing_on_the_test_set_is_called_optimistic() -> None:
    assert len(warnings(RunConfig(select="test"))) == 1
    assert warnings(RunConfig()) == []


@pytest.mark.parametrize(("seconds", "said"), [(3.4, "3 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (-1, "0 s")])
def test_durations(seconds: float, said: str) -> None:
    assert pieces.duration(seconds) == said


def test_where_weights_come_from_is_told_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pointsmith.ui.review import weights_told

    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def told(**backbone: object) -> str:
        return " ".join(weights_told(parse_config({"backbone": backbone})))

    assert told(kind="demo") == told(kind="own") == told(kind="maskpoint", weights="random") == ""
    assert "maskpoint" in told(kind="maskpoint")
    by_hand = told(kind="recon")
    assert str(tmp_path / "weights" / "recon") in by_hand and "drive.google" in by_hand
    place = tmp_path / "weights" / "recon"
    place.mkdir(parents=True)
    (place / "pretrain.pth").write_bytes(b"0")
    assert told(kind="recon") == ""
