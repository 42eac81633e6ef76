"""Damaged files of every format, by a seed: each costs at most itself a refusal, and no answer shows the server.

`python -m tests.security.fuzz --minutes 30` goes on from here, with a seed of its own.
"""

from __future__ import annotations

import random

import pytest

from .fuzz import check, load_settings
from .mutations import CLOUDS, SETS, SETTINGS, damaged
from .target import Target

ACCOUNTS = pytest.mark.parametrize("page", ["accounts"], indirect=True)


@ACCOUNTS
def test_damaged_settings_are_refused_or_read(page: Target) -> None:
    chance, faults, refused = random.Random(15), [], 0
    for make in SETTINGS.values():
        for _ in range(12):
            content = damaged(make(), chance)
            answer, sent = load_settings(page, content)
            refused += answer.status != 200 or "ps-error" in answer.text or "error" in answer.text
            faults += [(content[:80], one) for one in page.problems(answer, sent)]
            if "Internal" in answer.text:
                faults.append((content[:80], "an internal error"))
    assert refused > 2 and not faults, faults[:10]


@ACCOUNTS
def test_damaged_clouds_cost_only_themselves(page: Target) -> None:
    chance = random.Random(15)
    files = {
        f"{number}-broken.{ending}": damaged(make(), chance) for number, (ending, make) in enumerate(CLOUDS.items())
    }
    answer = check(page, files | {"sound.npy": CLOUDS["npy"]()})
    assert answer.status == 200 and page.problems(answer, "") == [], answer.text[-2000:]
    assert page.client.get("/healthz").status_code == 200


@ACCOUNTS
@pytest.mark.parametrize("ending", list(SETS))
def test_a_damaged_data_set_is_refused(page: Target, ending: str) -> None:
    answer = check(page, {f"set.{ending}": damaged(SETS[ending](), random.Random(15))})
    assert answer.status == 200 and page.problems(answer, "") == [], answer.text[-2000:]


@ACCOUNTS
def test_sound_files_are_read(page: Target) -> None:
    """The honest twin."""
    answer, _ = load_settings(page, SETTINGS["yaml"]())
    assert answer.status == 200 and "ps-error" not in answer.text
    assert "chair" in check(page, {"set.zip": SETS["zip"]()}).text
