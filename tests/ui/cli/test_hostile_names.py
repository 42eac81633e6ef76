"""Names that a terminal would obey: every verb that lists shows them as escapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pointsmith.core.config import RunConfig
from pointsmith.ui.cli.main import VERBS, cli
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.store import RunStore

HOSTILE = "a\x1b]0;t\x07b\u202ec\x9bd\re\u2028f\ng\x7f"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("service")
    for room in ("uploads", "exports", "runs"):
        (data / room).mkdir()
    return data


def test_lists_show_what_a_terminal_would_obey(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with EmbeddedRedis(service / "redis") as server:
        store = RunStore(server.address.url, service)
        run = store.create(RunConfig(), name=HOSTILE, owner="ada")
        upload = service / "uploads" / ("0" * 32)
        upload.mkdir()
        (upload / HOSTILE.replace("\n", "")).write_text("x")
        for arguments in (["runs"], ["runs", run.id], ["uploads"], ["workers"], ["cancel", run.id], ["runs", HOSTILE]):
            said = CliRunner().invoke(cli, [*arguments, "--data", str(service)])
            assert said.exit_code in (0, 2), said.output
            assert not set(said.output) & set(HOSTILE.replace("\n", "")) - set("abcdefgt];0"), (arguments, said.output)
        as_json = CliRunner().invoke(cli, ["runs", run.id, "--data", str(service), "--json"])
        assert json.loads(as_json.output)["name"] == HOSTILE
        assert "\x1b" not in as_json.output and "\u202e" not in as_json.output
        store.close()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_s_refusal_is_safe_for_a_terminal(verb: str) -> None:
    """Whatever a verb makes of an argument like this, it must not send it on."""
    said = CliRunner().invoke(cli, [verb, f"--{HOSTILE}", HOSTILE])
    assert said.exit_code != 0
    assert "\x1b" not in said.output and "\u202e" not in said.output and "\x07" not in said.output
