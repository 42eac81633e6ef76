"""The page knows the benchmarks: their classes before anything is read, and a path that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.errors import UserError
from pointsmith.ui.form import Form, from_config, to_content
from pointsmith.ui.review import check_files, count_classes

BASE = {"kind": "h5", "train": "/a b/train.h5", "test": "/a b/test.h5"}


def run_on(**data: Any) -> RunConfig:
    return parse_config({"data": data, "select": "last"})


@pytest.mark.parametrize(
    ("data", "classes"),
    [
        ({"kind": "scanobjectnn", "path": "/none"}, 15),
        ({"kind": "modelnet40", "path": "/none"}, 40),
        ({"kind": "modelnet40", "path": "/none", "subset": "modelnet10"}, 10),
        ({"kind": "fewshot", "path": "/none", "way": 7}, 7),
        ({"kind": "fewshot", "base": {"kind": "modelnet40", "path": "/none"}, "way": 3}, 3),
    ],
)
def test_classes_are_known_and_missing_folders_refused(data: dict[str, Any], classes: int) -> None:
    assert count_classes(run_on(**data)) == classes
    with pytest.raises(UserError, match="The data set does not exist: '/none'"):
        check_files(run_on(**data))


def test_what_needs_no_path_is_not_asked_for_one(tmp_path: Path) -> None:
    check_files(run_on(kind="scanobjectnn", source="hub"))
    check_files(run_on(kind="fewshot", base={"kind": "demo"}))
    check_files(run_on(kind="modelnet40", path=str(tmp_path)))


def test_the_data_behind_a_fold_go_through_the_form() -> None:
    config = run_on(kind="fewshot", way=4, base=BASE)
    kinds, shown = from_config(config)
    assert shown["data.fewshot.base"] == "{kind: h5, test: /a b/test.h5, train: /a b/train.h5}"
    form = Form(RunConfig())
    form.place(lambda one: True)
    seen = {key: form.components[key].preprocess(form.components[key].postprocess(shown[key])) for key in shown}
    assert parse_config(to_content(kinds, seen)).data == config.data
    with pytest.raises(UserError, match=r"either data\.path"):
        parse_config(to_content(kinds, seen | {"data.fewshot.base": ""}) | {"select": "last"})
