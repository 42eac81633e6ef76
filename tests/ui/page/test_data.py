"""The Data tab without a browser: what is shown, registered, mended and handed over; uploads that do not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data.config import FolderData, ImagesData
from pointsmith.core.data.facts import Item
from pointsmith.core.data.inspect import Report, Spread
from pointsmith.core.data.problems import Problem, Remedy
from pointsmith.core.data.procedural import make_cloud
from pointsmith.core.data.trial import Trial
from pointsmith.core.errors import UserError
from pointsmith.ui import data_view
from pointsmith.ui.access import Access
from pointsmith.ui.data_page import DataPage
from pointsmith.ui.data_sets import DataSets
from pointsmith.ui.form import PARTS, from_config, settings, to_content
from pointsmith.ui.handover import handed
from pointsmith.ui.uploaded_set import settled
from pointsmith.worker.quotas import QuotaExceeded


def a_report(**changes: Any) -> Report:
    leak = Problem("leak", "error", "1 object <twice>", "d", ["a = b"], 3, Remedy("Mend", {"repair.copies": "across"}))
    values: dict[str, Any] = {
        "kind": "folder",
        "modality": "points",
        "title": "<b>mine</b>",
        "inputs": 9,
        "usable": 8,
        "counts": {"<i>": {"train": 5, "test": 3}},
        "parts": {"train": 5, "test": 3},
        "spreads": {"points": Spread(10, 20, 3000), "radius": Spread(0.5, 1, 2)},
        "up": {"axis": "z", "agree": 8, "of": 8, "why": ""},
        "grey": 0,
        "problems": [leak],
        "trial": Trial("", "f" * 64, ["<i>"], {"train": [4], "validation": [1], "test": [3]}, ["a note"]),
        "pictures": [Item('"><script>', "train", "<i>", picture="data:image/png;base64,AA")],
    }
    return Report(**(values | changes))


def test_the_report_is_escaped_and_offers_its_remedies() -> None:
    html = data_view.head(a_report()) + data_view.inputs(a_report())
    assert "<b>mine" not in html and "<script>" not in html and "<twice>" not in html and "<i>&" not in html
    assert 'data-mend="0"' in html and "needs work" in html and "and 3 more" not in html and "Which (4)" in html
    assert "8 of 9 sound" in html and "10 to 3,000" in html and 'data-look="0"' in html
    assert "4 to learn from, 1 to choose the best epoch on, 3 to test with" in html
    assert 'style="width:62.5%"' in html


def test_a_mended_problem_has_no_button() -> None:
    problem = Problem("leak", "error", "t", remedy=Remedy("Mend", {"repair.copies": "across"}), mended=True)
    html = data_view.head(a_report(problems=[problem]))
    assert "data-mend" not in html and "mended" in html and "ready" in html


def test_checked_sets_are_remembered_once(tmp_path: Path) -> None:
    known, config = DataSets(tmp_path / "known"), FolderData(path=tmp_path)
    first = known.add(config, a_report(), 1.0)
    mended = FolderData.model_validate({"path": tmp_path, "repair": {"copies": "all"}})
    again = known.add(mended, a_report(), 2.0)
    other = known.add(FolderData(path=tmp_path / "other"), a_report(), 3.0)
    assert first.id == again.id and [one.id for one in known.list()] == [other.id, again.id]
    config, report = known.open(first.id)
    assert config == mended and report == a_report() and again.fingerprint == "f" * 64
    (tmp_path / "known" / other.id / "entry.json").write_text("{")
    assert [one.id for one in known.list()] == [again.id]
    known.remove(again.id)
    assert known.list() == []
    for gone in (again.id, "../../etc"):
        with pytest.raises(UserError):
            known.open(gone)


def test_only_so_many_sets_are_registered(tmp_path: Path) -> None:
    known = DataSets(tmp_path / "known", limit=2)
    first, second = (known.add(FolderData(path=tmp_path / name), a_report(), 1.0) for name in "ab")
    with pytest.raises(QuotaExceeded):
        known.require_room()
    with pytest.raises(QuotaExceeded):
        known.add(FolderData(path=tmp_path / "c"), a_report(), 2.0)
    assert known.add(FolderData(path=tmp_path / "a"), a_report(), 2.0).id == first.id  # checked again, not one more
    known.remove(second.id)
    known.add(FolderData(path=tmp_path / "c"), a_report(), 3.0)
    assert len(known.list()) == 2


def drop(tmp_path: Path, **files: bytes) -> list[Path]:
    made: list[Path] = []
    for name, content in files.items():
        path = tmp_path / "dropped" / name.replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        made.append(path)
    return made


def test_dropped_files_are_told_apart(tmp_path: Path) -> None:
    one = settled(drop(tmp_path, b__h5=b"1", a_test__h5=b"2"), tmp_path / "1")
    assert (one["kind"], Path(one["train"]).name, Path(one["test"]).name) == ("h5", "b.h5", "a_test.h5")
    two = settled(drop(tmp_path, a__png=b"1", list__csv=b"file,label\na.png,x\n"), tmp_path / "2")
    assert two == {"kind": "images", "path": str(tmp_path / "2" / "list.csv")}
    three = settled(drop(tmp_path, a__obj=b"1", list__csv=b"file,label\na.obj,x\n"), tmp_path / "3")
    assert three == {"kind": "folder", "path": str(tmp_path / "3")}
    assert sorted(one.name for one in (tmp_path / "3").iterdir()) == ["a.obj", "list.csv"]


@pytest.mark.parametrize(
    "files",
    [
        {"a__zip": b"1", "b__zip": b"2"},
        {"a__h5": b"1", "b__h5": b"2", "c__h5": b"3"},
        {"a__h5": b"1", "b__obj": b"2"},
    ],
)
def test_what_makes_no_data_set_leaves_nothing_behind(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UserError):
        settled(drop(tmp_path, **files), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def through_the_form(start: RunConfig, updates: list[Any]) -> RunConfig:
    """What the form holds after the updates of a handover."""
    kinds, shown = from_config(start)
    keys = [one.key for one in settings()]
    before = [*(kinds[part] for part in PARTS), *(shown[key] for key in keys)]
    after = [old if isinstance(new, dict) else new for old, new in zip(before, updates, strict=True)]
    return parse_config(to_content(dict(zip(PARTS, after)), dict(zip(keys, after[len(PARTS) :]))))


def test_a_data_set_is_handed_to_the_form_and_the_rest_stays(tmp_path: Path) -> None:
    known = {one.key: one for one in settings()}
    start = parse_config({"epochs": 77, "optim": {"lr": 0.01}})
    data = FolderData.model_validate(
        {"path": tmp_path, "repair": {"copies": "across", "resplit": 0.3}, "preparation": {"up": "z"}}
    )
    after = through_the_form(start, handed(data, known, list(known), "demo"))
    assert after.data == data and after.epochs == 77 and after.optim.lr == 0.01 and after.backbone == start.backbone


def test_images_bring_a_backbone_that_reads_them(tmp_path: Path) -> None:
    known = {one.key: one for one in settings()}
    updates = handed(ImagesData(path=tmp_path), known, list(known), "demo")
    chosen = dict(zip(PARTS, updates))
    assert chosen["data"] == "images" and chosen["backbone"] == "vit-b16"
    assert isinstance(
        dict(zip(PARTS, handed(ImagesData(path=tmp_path), known, list(known), "vit-b16")))["backbone"], dict
    )


@pytest.fixture
def page(tmp_path: Path) -> DataPage:
    """The tab on a store of its own."""
    with gr.Blocks():
        return DataPage(tmp_path / "store", Access(tmp_path / "store" / "uploads"))


def test_check_mend_and_open_again(page: DataPage, tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 50)):
        for label, name in enumerate(("one", "two")):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for i in range(6):
                np.save(tmp_path / "set" / part / name / f"{i}.npy", make_cloud(label, first + i, 64))
    np.save(tmp_path / "set" / "train" / "one" / "copy.npy", make_cloud(0, 50, 64) + 3)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in (tmp_path / "set").rglob("*.npy"):
            archive.write(path, path.relative_to(tmp_path))
    steps = list(page.run("upload", "", "", [str(tmp_path / "set.zip")]))
    assert any("Looking at files" in str(step[-1]) for step in steps[:-1])
    checked, one, head = steps[-1][:3]
    assert "1 object in more than one part" in head and checked.report.usable == 25
    assert Path(checked.config.path).is_relative_to(tmp_path / "store" / "uploads")
    look = page.closer(checked, SimpleNamespace(which="2"))  # type: ignore[arg-type]
    assert look[0]["visible"] and look[2]["value"]["count"] == 64

    mended = list(page.mend(checked, SimpleNamespace(which="0")))[-1]  # type: ignore[arg-type]
    assert mended[1] == one and mended[0].config.repair.copies == "across" and "mended" in mended[2]
    assert page.pick(one)[0].config == mended[0].config
    assert one in page.pick("")[-2]
    page.drop(SimpleNamespace(which=one))  # type: ignore[arg-type]
    assert one not in page.pick("")[-2] and "not registered any more" in page.pick(one)[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("path", "", "", None), "No folder or file was named"),
        (("path", "/no/such", "", None), "The data set does not exist"),
        (("path", __file__, "", None), "This file is no data set"),
        (("upload", "", "", None), "No file was dropped yet"),
    ],
)
def test_what_cannot_be_checked_is_said(page: DataPage, given: tuple[Any, ...], said: str) -> None:
    (only,) = list(page.run(*given))
    assert said in only[-1] and page.known.list() == []
