"""What programs may call, called as they would: gradio_client against the real page, worker and Redis."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio_client import Client
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from pointsmith.core.data.procedural import CLASSES
from pointsmith.ui.access import Access
from pointsmith.ui.accounts import COOKIE, Accounts
from pointsmith.ui.login import add_login

from tests.support.app_process import App

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SMALL: dict[str, Any] = {"data.train_per_class": 3, "data.test_per_class": 1, "epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with App(tmp_path_factory.mktemp("api"), ("--mcp",)) as app:
        yield Client(app.address, verbose=False, analytics_enabled=False)


def test_only_the_endpoints_are_public(client: Client) -> None:
    known = client.view_api(return_format="dict")
    assert isinstance(known, dict)
    assert set(known["named_endpoints"]) == {
        "/submit",
        "/status",
        "/events",
        "/cancel",
        "/predict",
        "/predict_file",
    }
    assert known["unnamed_endpoints"] == {}


def test_the_example_of_the_readme(client: Client) -> None:
    run = client.predict({"method": {"kind": "adapter-x"}, **SMALL}, "", "from a program", api_name="/submit")
    assert (run["state"], run["name"]) == ("queued", "from a program")
    told: list[dict[str, Any]] = []
    cursor, until = "0", time.monotonic() + 120
    while time.monotonic() < until:
        said = client.predict(run["id"], cursor, api_name="/events")
        told, cursor = told + said["events"], said["cursor"]
        if said["state"] in ("succeeded", "failed"):
            break
        time.sleep(0.5)
    assert said["state"] == "succeeded"
    kinds = [event["kind"] for event in told]
    assert kinds.count("epoch") == 1 and kinds.count("finished") == 1 and "routed" in kinds
    status = client.predict(run["id"], api_name="/status")
    assert status["result"]["epochs"] == 1 and status["error"] is None

    points = np.random.default_rng(0).normal(size=(2000, 3))
    answer = client.predict(run["id"], points.tolist(), api_name="/predict")
    assert set(answer["probabilities"]) == set(CLASSES)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    text = "\n".join(" ".join(f"{value:.9g}" for value in point) for point in points.astype(np.float32))
    sent = base64.b64encode(text.encode()).decode()
    again = client.predict(run["id"], "points.xyz", sent, api_name="/predict_file")
    assert again["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-4)

    for wrong, sentence in (
        ([[0.0, 1.0]] * 2000, "points is not a list"),
        ([[0.0, 0.0, float("1e30")]] * 3, "points"),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(run["id"], wrong, api_name="/predict")
    with pytest.raises(AppError, match="not base64"):
        client.predict(run["id"], "a.ply", "?", api_name="/predict_file")


def test_what_does_not_fit_is_one_sentence(client: Client) -> None:
    with pytest.raises(AppError, match="epochs"):
        client.predict({"epochs": -1}, "", "", api_name="/submit")
    with pytest.raises(AppError, match="no-such-recipe"):
        client.predict({}, "no-such-recipe", "", api_name="/submit")
    with pytest.raises(AppError, match="no such run"):
        client.predict("0" * 24, api_name="/status")


def test_a_recipe_with_changes_and_cancelling(client: Client) -> None:
    run = client.predict(
        {"method": "lora", "optim": {"lr": 0.002}, **SMALL, "epochs": 50}, "demo", "", api_name="/submit"
    )
    ended = client.predict(run["id"], api_name="/cancel")
    until = time.monotonic() + 30
    while ended["state"] not in ("cancelled", "failed", "succeeded") and time.monotonic() < until:
        time.sleep(0.2)
        ended = client.predict(run["id"], api_name="/status")
    assert ended["state"] == "cancelled"


def test_the_same_as_tools(client: Client) -> None:
    async def used() -> tuple[set[str], list[tuple[bool | None, str]]]:
        async with (
            streamablehttp_client(f"{client.src}gradio_api/mcp/") as (incoming, outgoing, _),
            ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            tools = {tool.name for tool in (await session.list_tools()).tools}
            queued = await session.call_tool("submit", {"settings": SMALL, "recipe": "", "name": "by a tool"})
            unknown = await session.call_tool("status", {"run_id": "0" * 24})
            return tools, [(one.isError, str(one.content)) for one in (queued, unknown)]

    tools, (queued, unknown) = asyncio.run(used())
    assert tools == {"submit", "status", "events", "cancel", "predict", "predict_file"}
    assert not queued[0] and "by a tool" in queued[1]
    assert unknown[0] and "no such run" in unknown[1]


def test_a_program_logs_in_without_being_sent_to_a_page() -> None:
    app = FastAPI()
    access = Access(Path("uploads"), "accounts", Accounts.read(["ada:a long password"]))
    add_login(app, access)
    asking = TestClient(app, follow_redirects=False)
    given = {"username": "ada", "password": "a long password"}
    assert asking.post("/login", data=given).status_code == 200
    assert COOKIE in asking.cookies
    assert asking.post("/login", data=given, headers={"accept": "text/html"}).status_code == 303
    assert asking.post("/login", data=given | {"password": "wrong"}).status_code == 401
