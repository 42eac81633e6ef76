"""The Predict tab's tools: a second adapter, what matters, pasted points, many files with bad ones among them."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.errors import UserError
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train
from pointsmith.ui.predict_page import PredictPage
from pointsmith.ui.predict_tools import Given, Row, as_csv, many, matters, pasted, table

from tests.support.tiny import tiny_run


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    list(train(tiny_run({"kind": "lora", "rank": 2}, epochs=1), folder, device="cpu"))
    return folder / "adapter"


def cloud(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(90, 3)).astype(np.float32)


def test_what_matters_colours_every_point(adapter: Path) -> None:
    shown, picture, told = matters(Predictor.load(adapter), Given(cloud(), "a cloud"))
    assert picture is None and shown is not None
    weights = np.frombuffer(base64.b64decode(shown["weights"]), "<i2")
    assert len(weights) == shown["count"] and np.abs(weights).max() == 32767 and shown["weightUnit"] > 0
    assert re.search(r"decisive|No single patch decides", told)


def test_pasted_points_however_they_are_separated() -> None:
    assert np.allclose(pasted("1 2 3\n4,5,6\n 7; 8 ;9\n"), [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    for text, reason in (
        ("", "No points"),
        ("one two three\nfour five six", "pasted"),
        ("x" * 5_000_000, "uploaded as"),
    ):
        with pytest.raises(UserError, match=reason):
            pasted(text)


def test_a_bad_file_among_many_is_named_and_the_others_answered(adapter: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("good.npy", "=bad.ply", "picture.png", "too few.npy")]
    np.save(files[0], cloud())
    files[1].write_bytes(b"ply\nnonsense")
    files[2].write_bytes(b"")
    np.save(files[3], cloud()[:2])
    predictor = Predictor.load(adapter)
    seen = [len(rows) for rows in many(predictor, files)]
    assert seen == [1, 2, 3, 4]
    rows = list(many(predictor, files))[-1]
    assert [row.answer is not None for row in rows] == [True, False, False, False]
    assert "points" in rows[2].problem and "picture.png" in rows[2].problem
    written = list(csv.DictReader(io.StringIO(as_csv(rows, predictor.classes))))
    alone = predictor.predict([cloud()])[0]
    assert written[0]["label"] == alone.label
    assert float(written[0]["probability"]) == pytest.approx(float(alone.probabilities.max()), abs=1e-5)
    assert written[1]["file"] == "'=bad.ply" and written[1]["problem"] and not written[1]["label"]
    html = table(rows, predictor.classes, 4)
    assert "4 of 4 files, 1 answered, 3 not" in html and "many-csv" in html
    assert "many-csv" not in table(rows[:2], predictor.classes, 4)
    with pytest.raises(UserError, match="Too many"):
        next(many(predictor, [Path("x.npy")] * 501))


def test_names_cannot_write_the_page() -> None:
    html = table([Row("<script>.npy", problem="<b>no</b>")], ("a",), 1)
    assert "<script>" not in html and "<b>no" not in html


def test_a_second_adapter_and_pasted_points_on_the_tab(page: PredictPage, adapter: Path) -> None:
    text = "\n".join(" ".join(map(str, point)) for point in cloud())
    drawn, _, said, given = page.pasted(None, str(adapter), text)
    assert drawn["count"] == 64 and "pasted points" in said and isinstance(given, Given)
    weighed, _, told, _ = page.weigh(None, str(adapter), given)
    assert weighed["weights"] and "matters-said" in told and 'id="label"' in told
    assert "Nothing has been answered" in page.weigh(None, str(adapter), None)[2]
    hidden, said = page.ask_second("", given)
    assert hidden["visible"] is False and said == ""
    *_, last = page.many(None, str(adapter), [])
    assert "There are no files" in last
