"""Any parquet set of labelled clouds, with its columns found or asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsmith.core.data.config import HubData
from pointsmith.core.data.load import load
from pointsmith.core.errors import UserError
from pydantic import ValidationError


def write(folder: Path, split: str, names: list[str] | None = None, width: int = 3, **columns: Any) -> np.ndarray:
    """Write a split of 12 clouds of 40 points as the Hub's own library writes parquet; return the clouds."""
    import datasets

    data = np.random.default_rng(len(split)).normal(size=(12, 40, width)).astype(np.float32)
    label = np.arange(12) % 3
    features = {
        "cloud": datasets.Sequence(datasets.Sequence(datasets.Value("float32"))),
        "category": datasets.ClassLabel(names=names) if names else datasets.Value("int64"),
        **{name: datasets.Value("int64") for name in columns},
    }
    content = {"cloud": data.tolist(), "category": label.tolist(), **columns}
    folder.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(content, features=datasets.Features(features)).to_parquet(
        str(folder / f"{split}-00000-of-00001.parquet")
    )
    return data


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "set"


def config(path: Path, **content: Any) -> HubData:
    preparation = {"points": content.pop("points", 40), "normalize": "none"}
    return HubData.model_validate({"repository": str(path), "preparation": preparation, "validation": 0.0, **content})


def refused(given: HubData) -> str:
    with pytest.raises(UserError) as caught:
        load(given)
    return str(caught.value)


def test_columns_and_classes_are_found(hub: Path) -> None:
    train, test = write(hub, "train", ["cup", "hat", "key"]), write(hub, "test", ["cup", "hat", "key"])
    found = load(config(hub, test="test"))
    assert np.array_equal(found.train.points, train) and np.array_equal(found.test.points, test)
    assert found.classes == ("cup", "hat", "key") and found.test.names[3] == "test[3]"
    assert any("points are the column cloud, labels the column category" in note for note in found.notes)


def test_numbers_as_labels_and_more_than_coordinates(hub: Path) -> None:
    train = write(hub, "train", width=6)
    found = load(config(hub))
    assert found.classes == ("class 0", "class 1", "class 2") and found.test is None
    assert found.train.points.shape == (12, 40, 3) and np.array_equal(found.train.points, train[:, :, :3])


def test_what_is_unclear_is_asked_for(hub: Path) -> None:
    write(hub, "train", label=[0] * 12)
    said = refused(config(hub))
    assert "which column" in said and "data.label" in said and "category" in said
    assert load(config(hub, label="category")).classes == ("class 0", "class 1", "class 2")
    assert "no column nothing" in refused(config(hub, label="category", inputs="nothing"))
    assert "cannot be had" in refused(config(hub, train="validation"))


def test_what_is_no_data_set_is_refused_at_once() -> None:
    for name in ("https://example.org/x", "owner", "a/b/c", "owner/na me"):
        with pytest.raises((UserError, ValidationError), match="no data set of the Hub"):
            HubData(repository=name)
