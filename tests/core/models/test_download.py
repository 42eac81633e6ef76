"""Weights come over a real connection: resumed where it broke, held to their hash, there afterwards offline."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from pointsmith.core.config import parse_config
from pointsmith.core.errors import UserError
from pointsmith.core.events import Event, Interrupted, Stage
from pointsmith.core.models import download as downloading
from pointsmith.core.models import load, weight_files
from pointsmith.core.models.backbones import OwnBackboneConfig
from pointsmith.core.models.download import Part, Progress
from pointsmith.core.models.source import Source
from pointsmith.core.models.weight_files import fetch, fetching, find, place_of
from pointsmith.core.training import train
from safetensors.torch import save

from tests.support.file_server import COMMIT, Served, serving
from tests.support.processes import PATIENCE, Child, join

CONTENT = bytes(range(256)) * 2000
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(downloading, "PAUSE_SECONDS", 0.01)
    yield
    huggingface_hub.close_session()


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(CONTENT) as served:
        yield served


@pytest.fixture
def hub(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The same server as a Hub."""
    server.linked_sha256 = server.sha256
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    return server


HUB = Source(layout="pointsmith", repository="someone/some-model", revision=COMMIT)


def at(server: Served, sha256: str | None = None) -> Source:
    return Source(layout="pointsmith", url=f"{server.url}/releases/weights.pth", sha256=sha256)


class Cut(Exception):
    """The user's Ctrl-C, in a test."""


def cut_at(count: int) -> weight_files.Report:
    def report(progress: Progress) -> None:
        if progress.done_bytes >= count:
            raise Cut

    return report


def test_downloads_once_and_is_there_without_a_network(server: Served) -> None:
    told: list[Progress] = []
    found = fetch("mine", at(server), told.append)
    assert found.path == place_of("mine", at(server)) and found.path.name == "weights.pth"
    assert found.path.read_bytes() == CONTENT and found.sha256 == server.sha256
    assert (told[0].done_bytes, told[-1].done_bytes) == (0, len(CONTENT))
    assert {each.total_bytes for each in told} == {len(CONTENT)}
    assert str(told[-1]) == "Downloading weights.pth: 0.5 of 0.5 MB"
    server.status = 404
    assert fetch("mine", at(server)) == found == find("mine", at(server))
    assert server.gets() == [None]
    assert sorted(path.name for path in found.path.parent.iterdir()) == [
        ".weights.pth.lock",
        "weights.pth",
        "weights.pth.sha256",
    ]


def test_resumes_within_one_call_after_cuts(server: Served) -> None:
    server.cuts = [HALF, 1000]
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT
    assert server.gets() == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_resumes_in_a_later_call(server: Served) -> None:
    with pytest.raises(Cut):
        fetch("mine", at(server), cut_at(HALF))
    part = Part(place_of("mine", at(server)))
    have = part.length()
    assert HALF <= have < len(CONTENT) and not part.place.exists()
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT
    assert server.gets() == [None, f"bytes={have}-"]
    assert not part.path.exists() and not part.mark.exists()


def test_a_changed_file_starts_afresh(server: Served) -> None:
    with pytest.raises(Cut):
        fetch("mine", at(server), cut_at(HALF))
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT[::-1]


def test_no_resuming_where_the_server_names_no_version(server: Served) -> None:
    server.etag = 'W/"weak"'
    with pytest.raises(Cut):
        fetch("mine", at(server), cut_at(HALF))
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT
    assert server.gets() == [None, None]


def test_a_server_without_ranges(server: Served) -> None:
    server.ranges, server.cuts = False, [HALF]
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT


def test_a_partial_file_that_is_already_whole(server: Served) -> None:
    part = Part(place_of("mine", at(server)))
    part.place.parent.mkdir(parents=True)
    part.path.write_bytes(CONTENT)
    part.mark.write_text(server.etag)
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long(server: Served) -> None:
    part = Part(place_of("mine", at(server)))
    part.place.parent.mkdir(parents=True)
    part.path.write_bytes(CONTENT + b"more")
    part.mark.write_text(server.etag)
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT


def test_a_connection_that_breaks_for_good_keeps_what_came(server: Served) -> None:
    server.cuts = [HALF, *[0] * 10]
    with pytest.raises(UserError, match=f"the connection broke.*{HALF:,} bytes are kept"):
        fetch("mine", at(server))
    server.cuts = []
    assert fetch("mine", at(server)).path.read_bytes() == CONTENT
    assert server.gets()[-1] == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("status", "said"), [(404, "no such file"), (401, "wants a login"), (403, "denied"), (503, "503")]
)
def test_refusals_say_which_file_to_put_where(server: Served, status: int, said: str) -> None:
    server.status = status
    source = at(server)
    with pytest.raises(UserError, match=said) as refused:
        fetch("mine", source)
    place = place_of("mine", source)
    for part in (str(source.url), f"as weights.pth into the folder {place.parent}", "--set backbone.weights=PATH"):
        assert part in str(refused.value)
    place.write_bytes(b"by hand")
    assert fetch("mine", source).path == place


def test_a_web_page_is_no_weight_file(server: Served) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(UserError, match="a web page instead of the file"):
        fetch("mine", at(server))


def test_no_server() -> None:
    with pytest.raises(UserError, match="no connection"):
        fetch("mine", Source(layout="pointsmith", url="http://127.0.0.1:9/weights.pth"))


def test_wrong_bytes_are_refused_and_not_kept(server: Served) -> None:
    source = at(server, sha256="0" * 64)
    with pytest.raises(UserError, match=f"what came has the SHA-256 {server.sha256}, expected was 0000"):
        fetch("mine", source)
    place = place_of("mine", source)
    assert not place.exists() and not Part(place).path.exists()


def test_damage_is_found_at_the_next_load_and_mended_by_force(server: Served) -> None:
    found = fetch("mine", at(server))
    found.path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match=r"damaged or another file.*pointsmith fetch mine --force"):
        fetch("mine", at(server))
    assert fetch("mine", at(server), force=True).path.read_bytes() == CONTENT


def test_force_keeps_the_old_file_until_the_new_one_is_there(server: Served) -> None:
    found = fetch("mine", at(server))
    server.status = 503
    with pytest.raises(UserError):
        fetch("mine", at(server), force=True)
    assert found.path.read_bytes() == CONTENT


def test_a_full_disk(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"too full: 512,000 bytes are needed in .*, 1,000 are free"):
        fetch("mine", at(server))


def test_a_disk_that_fills_up_underway(server: Served) -> None:
    def fill(progress: Progress) -> None:
        if progress.done_bytes >= HALF:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"the disk is full; .* bytes are kept to resume from"):
        fetch("mine", at(server), fill)
    assert Part(place_of("mine", at(server))).length() >= HALF


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written(server: Served, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        fetch("mine", at(server))


def test_a_file_in_the_way_of_the_cache(server: Served, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch("mine", at(server))


def test_two_processes_fetch_one_file(server: Served) -> None:
    server.hold = threading.Event()
    source = at(server)
    program = (
        "import sys\n"
        "from pointsmith.core.models.source import Source\n"
        "from pointsmith.core.models.weight_files import fetch\n"
        "said = set()\n"
        "fetch('mine', Source(layout='pointsmith', url=sys.argv[1]), lambda at: said.add(at.what))\n"
        "print(sorted(said))\n"
    )
    first = threading.Thread(target=fetch, args=("mine", source))
    first.start()
    assert server.waiting.wait(20)
    second = Child([sys.executable, "-c", program, str(source.url)], stdout=subprocess.PIPE, text=True)
    try:
        threading.Event().wait(4)  # so that it comes to wait; should it be slower, it finds the file whole
        server.hold.set()
        first.join(20)
        said, _ = second.finish()
    finally:
        server.hold.set()
        second.kill()
        second.wait(PATIENCE)
    assert second.returncode == 0 and server.gets() == [None]
    assert said.strip() in ("['Another process downloads weights.pth']", "[]")
    assert place_of("mine", source).read_bytes() == CONTENT


def test_hub_at_its_revision_and_offline_afterwards(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fetch("mine", HUB)
    assert found.path.read_bytes() == CONTENT and found.sha256 == hub.sha256
    assert {path for _, path, _ in hub.requests if "/api/" not in path} == {
        f"/someone/some-model/resolve/{COMMIT}/model.safetensors"
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    count = len(hub.requests)
    assert fetch("mine", HUB) == found and len(hub.requests) == count


def test_hub_resumes_in_a_later_call(hub: Served) -> None:
    with pytest.raises(Cut):
        fetch("mine", HUB, cut_at(HALF))
    have = Part(place_of("mine", HUB)).length()
    assert fetch("mine", HUB).path.read_bytes() == CONTENT
    assert hub.gets() == [None, f"bytes={have}-"]


def test_hub_serves_other_bytes_than_it_names(hub: Served) -> None:
    hub.content = CONTENT[::-1]
    with pytest.raises(UserError, match="what came has the SHA-256"):
        fetch("mine", HUB)
    assert find("mine", HUB) is None


def test_hub_file_differs_from_the_pinned_hash(hub: Served) -> None:
    with pytest.raises(UserError, match="expected was 1111"):
        fetch("mine", Source(layout="pointsmith", repository="a/b", revision=COMMIT, sha256="1" * 64))


def test_hub_uses_what_its_own_cache_holds_and_checks_it(hub: Served, tmp_path: Path) -> None:
    cached = huggingface_hub.hf_hub_download("someone/some-model", "model.safetensors", revision=COMMIT)
    count = len(hub.requests)
    found = fetch("mine", HUB)
    assert str(found.path) == cached and found.sha256 == hub.sha256 and len(hub.requests) == count
    found.path.resolve().write_bytes(b"damaged")
    with pytest.raises(UserError, match="fetch mine --force"):
        fetch("mine", HUB)
    assert fetch("mine", HUB, force=True).path.read_bytes() == CONTENT
    assert fetch("mine", HUB).path == place_of("mine", HUB)


def test_hub_offline_says_so(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set.*put it as model\.safetensors into the folder"):
        fetch("mine", HUB)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        fetch("mine", at(hub))


@pytest.mark.parametrize(("status", "said"), [(404, "no such file"), (401, "login"), (503, "HTTP 503")])
def test_hub_refuses(hub: Served, status: int, said: str) -> None:
    hub.status = status
    with pytest.raises(UserError, match=said):
        fetch("mine", HUB)


def test_hub_keeps_its_token_from_other_hosts(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are sent on to another host; the client must not tell it the user's token."""
    request = httpx2.Request("GET", hub.url, headers={"Authorization": "Bearer secret"})
    redirect = httpx2.Response(302, headers={"Location": "http://elsewhere.invalid/blob"}, request=request)
    client = huggingface_hub.get_session()
    assert "authorization" not in client._build_redirect_request(request, redirect).headers


def test_by_hand_only_names_file_folder_and_address() -> None:
    source = Source(layout="recon/pretrain", homepage="https://example.org/recon")
    with pytest.raises(UserError) as refused:
        fetch("recon", source)
    place = place_of("recon", source)
    assert "Download https://example.org/recon by hand" in str(refused.value)
    assert f"put it as pretrain.pth into the folder {place.parent}" in str(refused.value)


def test_fetching_tells_and_stops_when_closed(server: Served) -> None:
    server.hold = threading.Event()
    events = fetching("mine", at(server), every=0.02)
    assert next(events).total_bytes == len(CONTENT)
    events.close()
    server.hold.set()
    for thread in threading.enumerate():
        if thread.name == "fetch-mine":
            thread.join(20)
    assert find("mine", at(server)) is None and Part(place_of("mine", at(server))).length() > 0
    server.hold = None
    assert list(fetching("mine", at(server)))[-1].done_bytes == len(CONTENT)
    assert list(fetching("mine", at(server))) == []


def test_fetching_raises_what_went_wrong(server: Served) -> None:
    server.status = 404
    with pytest.raises(UserError, match="no such file"):
        list(fetching("mine", at(server)))


SIZES = {"dim": 24, "depth": 2, "heads": 2, "groups": 8, "group_size": 8, "widths": [8, 16, 16], "head": 16}
RUN = {
    "backbone": {"kind": "own", "weights": "pretrained", **{k: v for k, v in SIZES.items() if k != "head"}},
    "method": {"kind": "probe"},
    "data": {"kind": "demo", "train_per_class": 4, "test_per_class": 2, "preparation": {"points": 64}},
    "epochs": 1,
    "batch_size": 8,
}


@pytest.fixture
def tiny(server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A backbone of known sizes whose file lies on the server."""
    source = Source(layout="pointsmith", url=f"{server.url}/tiny.safetensors")
    monkeypatch.setattr(load, "source_of", lambda _: source)
    trunk = OwnBackboneConfig(**{**RUN["backbone"], "weights": "random"}).build("every-block")  # type: ignore[dict-item]
    left_out = ("cls_token", "cls_pos")
    torch.manual_seed(0)
    server.content = save(
        {name: value.contiguous() for name, value in trunk.state_dict().items() if name not in left_out}
    )
    return server


def test_a_run_tells_how_far_its_weights_are(tiny: Served, tmp_path: Path) -> None:
    tiny.hold = threading.Event()
    release = threading.Timer(1.2, tiny.hold.set)
    release.start()
    events = list(train(parse_config(RUN, "run"), tmp_path / "run", device="cpu"))
    join([release])
    stages = [event for event in events if isinstance(event, Stage)]
    told = [stage for stage in stages if stage.done is not None and stage.stage == "backbone"]
    assert 1 <= len(told) <= 6
    assert told[-1].done == told[-1].total == len(tiny.content)
    assert {stage.stage for stage in told} == {"backbone"}
    assert [stage.message for stage in stages if stage.stage == "backbone"][-1] == "Loading own"
    assert events[-1].kind == "finished"
    again = list(train(parse_config(RUN, "run"), tmp_path / "again", device="cpu"))
    assert not [event for event in again if isinstance(event, Stage) and event.done is not None]


def test_a_run_that_is_stopped_while_it_fetches(tiny: Served, tmp_path: Path) -> None:
    tiny.hold = threading.Event()
    try:
        events: list[Event] = []

        def fetching() -> bool:
            return any(isinstance(one, Stage) and one.stage == "backbone" for one in events)

        for event in train(parse_config(RUN, "run"), tmp_path / "run", device="cpu", stop=fetching):
            events.append(event)
    finally:
        tiny.hold.set()
    assert isinstance(events[-1], Interrupted) and isinstance(events[-2], Stage) and events[-2].done is not None
    for thread in threading.enumerate():
        if thread.name == "fetch-own":
            thread.join(20)
