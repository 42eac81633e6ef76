"""Paths as text: where visitors may name uploads and allowed folders only, no field leads to anything else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from .running import path_settings
from .target import Target

ROOTED = pytest.mark.parametrize("page", ["rooted"], indirect=True)
ACCOUNTS = pytest.mark.parametrize("page", ["accounts"], indirect=True)
EITHER = pytest.mark.parametrize("page", ["rooted", "accounts"], indirect=True)
TYPED = ("textbox", "dropdown", "html", "browserstate", "radio")


@ROOTED
def test_no_setting_of_a_data_set_leads_outside(page: Target) -> None:
    submit = page.running.event("submit")
    faults = []
    settings = list(path_settings())
    assert len(settings) > 10
    for (kind, name), (spelling, path) in itertools.product(settings, page.paths.items()):
        # The others of the same kind name something that is allowed, so that the one is what counts.
        data: dict[str, Any] = {other: str(page.allowed) for one, other in settings if one == kind}
        data |= {"kind": kind, name: path}
        answer = page.running.call(submit, [{"data": data}, "", ""])
        faults += [(kind, name, spelling, one) for one in page.problems(answer, data)]
        if answer.status == 200:
            faults.append((kind, name, spelling, "accepted"))
    assert not faults, faults[:20]


@ROOTED
def test_no_other_setting_of_a_run_leads_outside(page: Target) -> None:
    submit = page.running.event("submit")
    faults = []
    for spelling, path in page.paths.items():
        for settings in (
            {"backbone": {"weights": path}},
            {"data": {"kind": "hub", "repository": path}},
            {"data": {"kind": "fewshot", "base": {"kind": "folder", "path": path}}},
            {"data": {"kind": "fewshot", "base": {"kind": "hub", "repository": path}}},
            {"extends": path},
            {"data.path": path, "data.kind": "folder"},
        ):
            answer = page.running.call(submit, [settings, "", ""])
            faults += [(settings, spelling, one) for one in page.problems(answer, settings)]
            if answer.status == 200:
                faults.append((settings, spelling, "accepted"))
        for event in ("submit", "predict", "status"):
            arguments: list[Any] = {"submit": [{}, path, ""], "predict": [path, [[0, 0, 0]]], "status": [path]}[event]
            answer = page.running.call(page.running.event(event), arguments)
            faults += [(event, spelling, one) for one in page.problems(answer, arguments)]
    assert not faults, faults[:20]


@ACCOUNTS
def test_no_field_of_the_page_leads_outside(page: Target) -> None:
    paths = itertools.cycle(page.paths.items())
    faults, met = [], set()
    for event in page.running.events:
        for at, (component, kind) in enumerate(zip(event.components, event.types)):
            if kind not in TYPED or component in met:
                continue
            met.add(component)
            if kind != "textbox" and len(met) % 4:  # choices are compared with a list; some of them are enough
                continue
            spelling, path = next(paths)
            answer = page.running.call(event, event.arguments(at, path, filled=True))
            faults += [(event.name, at, spelling, one) for one in page.problems(answer, path)]
    assert len(met) > 50 and not faults, faults[:20]


@ROOTED
def test_the_fields_for_places_lead_nowhere(page: Target) -> None:
    """The fields that are there for places, with every spelling: Data, Predict, and the address of the page."""
    faults = []
    for spelling, path in page.paths.items():
        for name, arguments in (
            ("run", ["path", path, "", []]),
            ("run", ["path", str(page.allowed), path, []]),
            ("fit", [None, path, None]),
        ):
            event = page.running.event(name)
            arguments = (arguments + [None] * len(event.components))[: len(event.components)]
            answer = page.running.call(event, arguments)
            faults += [(name, spelling, one) for one in page.problems(answer, arguments)]
    assert not faults, faults[:20]


@EITHER
def test_an_allowed_folder_is_taken(page: Target) -> None:
    """The honest twin, also through a link within the folder."""
    submit = page.running.event("submit")
    link = page.allowed / "link"
    if not link.exists():
        link.symlink_to(page.allowed / "chair")
    for path in (page.allowed, link, page.allowed / "chair" / ".."):
        answer = page.running.call(submit, [{"data": {"kind": "folder", "path": str(path)}}, "", ""])
        assert answer.status == 200, answer.text
