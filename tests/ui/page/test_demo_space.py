"""A demo Space as it was pushed, started from its files alone, and used in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.core.adapters import describe, save_adapter
from pointsmith.core.building import build
from pointsmith.core.errors import UserError
from pointsmith.core.hub.client import Hub
from pointsmith.core.hub.push import push
from pointsmith.core.hub.space import demos, push_space, requirements, space_files

from tests.support.hub_server import ADA, serving_hub
from tests.support.hub_server import Hub as Served
from tests.support.processes import Child
from tests.support.tiny import tiny_run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
NAME = "ada/shapes"
CLASSES = ("airplane", "bed", "car", "chair", "table")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A Hub with an adapter of generated objects."""
    run = tiny_run({"kind": "lora", "rank": 2})
    built = build(run, len(CLASSES))
    folder = tmp_path_factory.mktemp("run") / "adapter"
    save_adapter(folder, built, describe(built, run, CLASSES, metrics={"test_accuracy": 0.5}))
    with serving_hub() as served:
        push(folder, NAME, hub=Hub(ADA, served.url))
        yield served


def test_a_space_has_its_package_and_pinned_adapters(hub: Served, tmp_path: Path) -> None:
    shown = demos([NAME], hub=Hub(False, hub.url), shelf=tmp_path)
    files = space_files(shown, title="Shapes", hardware="zero")
    listed = json.loads(files["adapters.json"])
    assert listed["adapters"] == [f"{NAME}@{hub.repos['model', NAME].commits[-1].oid}"]
    assert b"import spaces" in files["app.py"] and b"suggested_hardware: zero-a10g" in files["README.md"]
    assert "pointsmith/core/predict.py" in files and "pointsmith/assets/viewer.js" in files
    # What only training needs stays at home: no tests, no command line, no worker; the demo backbone if it is used.
    assert not any(path.startswith(("pointsmith/worker", "pointsmith/ui/cli", "pointsmith/tests")) for path in files)
    assert "pointsmith/assets/demo_backbone.safetensors" not in files
    assert not any(path.endswith(".pyc") for path in files)
    names = requirements("cpu")
    assert "gradio==" in names and "torch==" in names and "redis" not in names and "celery" not in names


def test_a_space_of_somebody_else_is_not_written_over(hub: Served, tmp_path: Path) -> None:
    hub.add("space", "ada/theirs", {"app.py": b"theirs"})
    shown = demos([NAME], hub=Hub(False, hub.url), shelf=tmp_path)
    with pytest.raises(UserError, match="holds another Space"):
        push_space("ada/theirs", shown, hub=Hub(ADA, hub.url))
    assert hub.files("ada/theirs", "space")["app.py"] == b"theirs"


@pytest.fixture(scope="module")
def address(hub: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Space's page, from its pushed files, in a process that has neither Redis nor Celery nor our package."""
    place = tmp_path_factory.mktemp("space")
    shown = demos([NAME], hub=Hub(False, hub.url), shelf=place / "shelf")
    done = push_space("ada/shapes-demo", shown, hub=Hub(ADA, hub.url), title="Shapes")
    assert done.url == f"{hub.url}/spaces/ada/shapes-demo"
    for path, content in hub.files("ada/shapes-demo", "space").items():
        (place / "app" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "app" / path).write_bytes(content)
    for name in ("celery", "redis", "datasets", "plotly"):
        (place / "absent" / name).mkdir(parents=True)
        (place / "absent" / name / "__init__.py").write_text(f"raise ImportError('{name} is not on a Space')\n")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {
        **kept,
        "PYTHONPATH": str(place / "absent"),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(place / "hf"),
        "POINTSMITH_CACHE": str(place / "cache"),
        "GRADIO_SERVER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    with (place / "log").open("w+") as log:
        server = Child(
            [sys.executable, "app.py"], cwd=place / "app", env=environment, stdout=log, stderr=log, text=True
        )
        try:
            deadline = time.monotonic() + 120
            while not _answers(f"http://127.0.0.1:{port}/") and time.monotonic() < deadline:
                assert server.poll() is None, (place / "log").read_text()
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
            assert "Traceback" not in (place / "log").read_text()
        finally:
            server.terminate()
            server.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_pushed_space_predicts_in_a_browser(address: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    cloud = tmp_path / "cloud.xyz"
    cloud.write_text("\n".join(f"{i % 7} {i % 11} {i % 13}" for i in range(300)))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        outside: list[str] = []
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        own = (address, "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else outside.append(asked.url))
        expect = playwright.expect
        expect.set_options(timeout=90_000)
        page.goto(address)
        expect(page.locator("h1")).to_have_text("Shapes")
        expect(page.locator("#adapter input")).to_have_value(re.compile(rf"{NAME} @ [0-9a-f]{{7}} · 50\.0 %"))
        expect(page.locator("#label")).not_to_be_empty()
        expect(page.locator("#viewer canvas")).to_have_attribute("data-drawn", "64")
        with page.expect_file_chooser() as chooser:
            page.click("#upload-cloud")
        chooser.value.set_files(cloud)
        expect(page.locator("#answer")).to_contain_text("cloud.xyz")
        assert page.locator("#label").inner_text() in CLASSES
        assert page.locator("#adapter-folder").count() == 0 or not page.locator("#adapter-folder").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert problems == [] and outside == []
        browser.close()
