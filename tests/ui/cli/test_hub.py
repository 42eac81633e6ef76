"""Train, push, pull in a fresh process, verify: the round trip by the command line, on a Hub in this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pointsmith.core.hub.card import told_results

from tests.support.hub_server import ADA, serving_hub
from tests.support.hub_server import Hub as Served

pytestmark = pytest.mark.slow
NAME = "ada/shapes"
SIZES = {"dim": 24, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "widths": "[8,16,16]"}
TINY = [
    *("--backbone", "own", "--method", "dapt-x", "--data", "demo"),
    *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--set", "method.rank=4", "--set", "method.heads=3", "--set", "head.hidden=16"),
    *("--set", "data.preparation.points=64", "--set", "data.train_per_class=6", "--set", "data.test_per_class=3"),
    *("--epochs", "2", "--batch-size", "8", "--device", "cpu"),
]
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hub() -> Iterator[Served]:
    with serving_hub() as served:
        yield served


@pytest.fixture(scope="module")
def call(hub: Served, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Run the command line in a process of its own, on that Hub; `cache` is whose machine it is."""
    place = tmp_path_factory.mktemp("work")

    def run(*words: object, token: str | None = ADA, cache: str = "mine", **environment: str):
        known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        known |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "hf"), "POINTSMITH_CACHE": str(place / cache)}
        known |= {"HF_TOKEN": token} if token else {}
        return subprocess.run(
            [sys.executable, "-m", "pointsmith.ui.cli.main", *map(str, words)],
            env={**known, "OMP_NUM_THREADS": "1", **environment},
            cwd=place,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def pushed(call: Call) -> str:
    """Train and push; return the commit."""
    done = call("train", *TINY, "--out", "run")
    assert done.returncode == 0, done.stderr
    done = call("push", "run/adapter", NAME, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["revision"]


def test_the_card_has_what_the_run_told(hub: Served, pushed: str) -> None:
    files = hub.files(NAME)
    assert hub.repos["model", NAME].commits[-1].oid == pushed
    assert {"pictures/curves.png", "pictures/confusion.png", "pictures/routing.png"} <= set(files)
    text = files["README.md"].decode()
    assert "pointsmith train --data demo --backbone own --method dapt-x" in text and "Adapter-X" in text


def test_a_fresh_process_with_an_empty_cache_gives_the_same_logits(call: Call, pushed: str, tmp_path: Path) -> None:
    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).normal(size=(128, 3)).astype(np.float32))
    here = call("predict", "run/adapter", cloud, "--json")
    there = call("predict", f"{NAME}@{pushed}", cloud, "--json", cache="theirs", token=None)
    assert there.returncode == 0, there.stderr
    assert np.array_equal(json.loads(here.stdout)[0]["logits"], json.loads(there.stdout)[0]["logits"])
    offline = call("predict", NAME, cloud, "--json", cache="theirs", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and "HF_HUB_OFFLINE" in offline.stderr  # only the commit is known there
    offline = call("predict", f"{NAME}@{pushed}", cloud, "--json", cache="theirs", HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout) == json.loads(there.stdout)


def test_verify_says_that_the_card_is_right(call: Call, pushed: str) -> None:
    done = call("verify", f"{NAME}@{pushed}", "--device", "cpu", "--json", cache="third", token=None)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["same"] and {one["split"] for one in said["compared"]} == {"test", "validation"}
    assert all(one["told"] == pytest.approx(one["measured"], abs=1e-12) for one in said["compared"])


def test_verify_says_that_a_card_is_wrong(call: Call, hub: Served, pushed: str) -> None:
    text = hub.files(NAME)["README.md"].decode()
    right = told_results(text)["test"]
    hub.add(
        "model", "ada/boast", {**hub.files(NAME), "README.md": text.replace(f"value: {right}", "value: 0.99").encode()}
    )
    done = call("verify", "ada/boast", "--device", "cpu")
    assert done.returncode == 1 and "99.00 %" in done.stdout


def test_evaluate_and_pull_take_an_id(call: Call, pushed: str) -> None:
    done = call("evaluate", NAME, "--json", "--device", "cpu")
    assert done.returncode == 0 and json.loads(done.stdout)["data"] == "demo"
    done = call("pull", NAME)
    assert done.returncode == 0 and pushed in done.stdout
    listed = json.loads(call("pull", "--json").stdout)
    assert {"ada/shapes", "ada/boast"} >= {one["id"] for one in listed} >= {"ada/shapes"}


def test_refusals_are_one_sentence_without_the_token(call: Call, pushed: str) -> None:
    secret = "hf_" + "Z" * 34
    done = call("push", "run/adapter", NAME, token=secret)
    assert done.returncode == 2 and "does not accept the token" in done.stderr and secret not in done.stderr
    done = call("predict", "ada/nothing", "x.npy")
    assert done.returncode == 2 and "ada/nothing" in done.stderr
    assert "Traceback" not in done.stderr
