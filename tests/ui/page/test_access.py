"""Logins, whose run is whose, which files may be named, and what the server hands out: asked over HTTP."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data.config import FolderData
from pointsmith.core.data.load import read
from pointsmith.core.errors import UserError
from pointsmith.ui.access import AUTH, Access, access_of
from pointsmith.ui.accounts import COOKIE, Accounts, hashed, matches
from pointsmith.ui.server import application
from pointsmith.worker.embedded_redis import EmbeddedRedis
from pointsmith.worker.own_runs import NOBODY, OwnRuns
from pointsmith.worker.run import Run
from pointsmith.worker.store import RunStore

HERE = "http://127.0.0.1:7860"
OF_THE_API = ("cancel", "events", "predict", "predict_file", "status", "submit")
"""What programs may call by name."""
PASSWORDS = {"ada": "ada's password", "ben": "ben's password"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (AUTH, "SYSTEM", "OAUTH_CLIENT_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def ada_s(store: RunStore) -> Run:
    """A finished run of Ada's, whose adapter is a file."""
    run = store.create(RunConfig(), name="Secret of Ada", owner="ada")
    claim = store.ledger.claim(run.id, "w")
    assert claim is not None
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "config.json").write_text("{}")
    (run.folder / "log.txt").write_text("Ada's log\n")
    store.ledger.append(claim, [(1, 1, json.dumps({"kind": "note", "message": "Ada's note"}))], {}, 0)
    store.ledger.finish(claim, "succeeded", result={"adapter": "adapter", "test_accuracy": 0.5})
    return store.get(run.id)


def locked(store: RunStore, roots: tuple[Path, ...] = ()) -> Access:
    accounts = Accounts({name: hashed(password) for name, password in PASSWORDS.items()})
    return Access(store.data_dir / "uploads", "accounts", accounts, roots)


@pytest.fixture(scope="module")
def page(store: RunStore) -> Iterator[TestClient]:
    """The page with two accounts, nobody inside."""
    browser = {"accept": "text/html, */*"}  # programs are answered otherwise
    with TestClient(application(store, store.data_dir, locked(store)), base_url=HERE, headers=browser) as client:
        yield client


@pytest.fixture
def outside(page: TestClient) -> TestClient:
    page.cookies.clear()
    return page


def enter(client: TestClient, name: str) -> TestClient:
    client.cookies.clear()
    answer = client.post("/login", data={"username": name, "password": PASSWORDS[name]}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return client


def functions(client: TestClient) -> dict[str, list[dict[str, Any]]]:
    """The page's events by the name of their function, private ones too."""
    found: dict[str, list[dict[str, Any]]] = {}
    for dependency in client.get("/config").json()["dependencies"]:
        found.setdefault(str(dependency["api_name"]), []).append(dependency)
    return found


def call(client: TestClient, name: str, data: list[Any], event: dict[str, Any] | None = None, at: int = 0) -> Any:
    """Call a function of the page as its script does, but with whatever data an attacker likes."""
    body = {"data": data, "fn_index": functions(client)[name][at]["id"], "session_hash": "test", "event_data": event}
    return client.post("/gradio_api/run/predict", json=body)


# --- accounts ---


def test_passwords_are_kept_as_salted_hashes() -> None:
    one, other = hashed("correct horse"), hashed("correct horse")
    assert one != other and one.startswith("scrypt$") and "horse" not in one
    assert matches("correct horse", one) and not matches("correct horsf", one)


def test_accounts_come_as_words_or_as_a_file_of_hashes(tmp_path: Path) -> None:
    file = tmp_path / "accounts"
    file.write_text(f"# who may enter\nada:{hashed(PASSWORDS['ada'])}\n\n")
    accounts = Accounts.read([str(file), "ben:ben's password"])
    assert set(accounts.hashes) == {"ada", "ben"} and all(one.startswith("scrypt$") for one in accounts.hashes.values())
    assert accounts.enter("ada", PASSWORDS["ada"], "x") and accounts.enter("ben", PASSWORDS["ben"], "x")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("ada:2brief", "too short"),
        ("a b:long enough it is", "name does not fit"),
        (f"{NOBODY}:long enough it is", "name does not fit"),
        ("/no/such/file", "neither"),
    ],
)
def test_unusable_accounts_are_refused_without_repeating_the_password(given: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        Accounts.read([given])
    assert given.partition(":")[2] == "" or given.partition(":")[2] not in str(error.value)


def test_a_file_with_a_plain_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "accounts").write_text("ada:hunter2hunter2\n")
    with pytest.raises(UserError, match="Line 1") as error:
        Accounts.read([str(tmp_path / "accounts")])
    assert "hunter2" not in str(error.value)


def test_guessing_is_slow_and_soon_over_and_sessions_end() -> None:
    now = [0.0]
    accounts = Accounts({"ada": hashed(PASSWORDS["ada"])}, clock=lambda: now[0])
    for _ in range(10):
        assert accounts.enter("ada", "a guess", "1.2.3.4") is None
    with pytest.raises(UserError, match="Too many attempts"):
        accounts.enter("ada", PASSWORDS["ada"], "1.2.3.4")
    assert accounts.enter("ada", PASSWORDS["ada"], "5.6.7.8") is not None
    now[0] = 901
    token = accounts.enter("ada", PASSWORDS["ada"], "1.2.3.4")
    request = type("Request", (), {"cookies": {COOKIE: token}})()
    assert accounts.name_of(request) == "ada"
    now[0] += 12 * 3600 + 1
    assert accounts.name_of(request) is None


# --- the door ---


def test_an_address_of_a_network_needs_a_login(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="open to everybody"):
        access_of(tmp_path, "0.0.0.0")
    assert access_of(tmp_path, "127.0.0.1").roots is None
    assert access_of(tmp_path, "0.0.0.0", no_auth=True).roots == ()
    assert access_of(tmp_path, "0.0.0.0", auth=["ada:long enough"]).door == "accounts"
    assert access_of(tmp_path, "127.0.0.1", auth=["ada:long enough"]).roots == ()
    assert access_of(tmp_path, "127.0.0.1", data_roots=[tmp_path]).roots == (tmp_path,)
    with pytest.raises(UserError, match="contradict"):
        access_of(tmp_path, "127.0.0.1", auth=["ada:long enough"], no_auth=True)


def test_the_password_leaves_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH, "ada:long enough")
    assert access_of(tmp_path, "0.0.0.0").door == "accounts"
    assert AUTH not in os.environ


def test_on_spaces_the_login_is_hugging_face_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    with pytest.raises(UserError, match="open to everybody"):
        access_of(tmp_path, "0.0.0.0")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")
    access = access_of(tmp_path, "0.0.0.0")
    assert (access.door, access.roots) == ("oauth", ())
    signed = {"oauth_info": {"userinfo": {"sub": "4711", "preferred_username": "ada"}, "expires_at": 9e12}}
    for session, name in (
        (signed, "hf:4711"),
        ({}, ""),
        ({"oauth_info": {**signed["oauth_info"], "expires_at": 1}}, ""),
    ):
        assert access.visitor(type("Request", (), {"scope": {"session": session}})()) == name
    monkeypatch.delenv("SYSTEM")
    assert access_of(tmp_path, "127.0.0.1").door == "open"  # elsewhere Gradio would only pretend


def test_nobody_gets_in_without_a_login(outside: TestClient, ada_s: Run) -> None:
    assert outside.get("/", follow_redirects=False).headers["location"] == "login"
    assert outside.get(f"/?run={ada_s.id}", follow_redirects=False).headers["location"] == f"login?next=run={ada_s.id}"
    form = outside.get("/login")
    assert form.status_code == 200 and 'type="password"' in form.text
    for path in ("/config", "/gradio_api/info", f"/export/{ada_s.id}.zip", "/gradio_api/queue/data?session_hash=x"):
        assert outside.get(path).status_code == 401, path
    for path in ("/gradio_api/run/predict", "/gradio_api/queue/join", "/gradio_api/upload"):
        assert outside.post(path, json={"data": []}).status_code == 401, path
    assert outside.get("/healthz").status_code == 200


def test_wrong_passwords_and_foreign_addresses_to_return_to(outside: TestClient) -> None:
    wrong = outside.post("/login", data={"username": "ada", "password": "no"}, follow_redirects=False)
    assert wrong.status_code == 401 and "wrong" in wrong.text and COOKIE not in outside.cookies
    data = {"username": "ada", "password": PASSWORDS["ada"]}
    for after, place in (("?run=abc", "./?run=abc"), ("//evil.org", "./"), ("?x=<script>", "./"), ("", "./")):
        answer = outside.post("/login", data={**data, "after": after}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, place)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and PASSWORDS["ada"] not in cookie


def test_leaving_ends_the_session(outside: TestClient) -> None:
    client = enter(outside, "ada")
    kept = client.cookies[COOKIE]
    assert client.get("/config").status_code == 200
    client.post("/logout", follow_redirects=False)
    client.cookies.set(COOKIE, kept)
    assert client.get("/config").status_code == 401
    client.cookies.clear()


def test_requests_that_another_site_wrote_are_refused(store: RunStore, outside: TestClient) -> None:
    foreign = {"origin": "https://evil.org"}
    assert outside.post("/login", data={}, headers=foreign).status_code == 403
    with TestClient(application(store, store.data_dir), base_url=HERE) as opened:
        assert opened.get("/config").status_code == 200
        assert opened.get("/config", headers={"host": "rebound.evil.org"}).status_code == 421
        assert opened.post("/gradio_api/run/predict", json={}, headers=foreign).status_code == 403
        assert opened.post("/logout", headers={"origin": HERE}).status_code not in (403, 421)
    with TestClient(application(store, store.data_dir, hosts=["my.proxy"]), base_url="http://my.proxy") as proxied:
        assert proxied.get("/config").status_code == 200


# --- whose runs ---


def test_each_owner_has_his_own_runs_and_the_rest_does_not_exist(store: RunStore, ada_s: Run) -> None:
    ada, ben, everybody = (OwnRuns(store, lambda who=who: who) for who in ("ada", "ben", None))
    assert [run.id for run in ada.list()] == [ada_s.id] and ada.count() == 1
    assert ben.list() == [] and ben.count() == 0 and ada_s.id in [run.id for run in everybody.list()]
    for act in (ben.get, ben.events, ben.log, ben.cancel, ben.delete, lambda one: ben.bring(ada_s, "adapter")):
        with pytest.raises(UserError, match="no such run"):
            act(ada_s.id)
    with pytest.raises(UserError, match="no such run"):
        ben.create(ada_s.config, after=ada_s)
    with pytest.raises(UserError, match="not signed in"):
        OwnRuns(store, lambda: NOBODY).create({})
    assert store.get(ada_s.id).state == "succeeded"


def test_an_owner_outlives_redis(store: RunStore, ada_s: Run, tmp_path: Path) -> None:
    store.record(ada_s.id)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ada_s.id).symlink_to(ada_s.folder)
    with EmbeddedRedis(tmp_path / "redis") as server:
        other = RunStore(server.address.url, tmp_path)
        assert other.read_in() == 1 and other.get(ada_s.id).owner == "ada"
        other.close()


def test_outside_an_event_a_locked_page_belongs_to_nobody(store: RunStore) -> None:
    assert locked(store).owner() == NOBODY and Access(Path("x")).owner() is None


@pytest.mark.parametrize("queued", [False, True])
def test_the_page_s_functions_check_too(outside: TestClient, ada_s: Run, store: RunStore, queued: bool) -> None:
    """Every function that takes a run's id, called by Ben with Ada's."""
    ben = enter(outside, "ben")
    found = functions(ben)
    asked = 0
    for name in ("refresh", "_open", "lambda", "sample", "uploaded", "fit", "choose", "first", "_moved", *OF_THE_API):
        for at, one in enumerate(found.get(name, []) + found.get(f"{name}_1", [])):
            data = [ada_s.id for _ in one["inputs"]]
            event = {"id": ada_s.id, "run": ada_s.id, "adapter": ada_s.id, "data": ""}
            session = f"{name}{at}"
            body = {"data": data, "fn_index": one["id"], "session_hash": session, "event_data": event}
            if queued:
                joined = ben.post("/gradio_api/queue/join", json=body)
                assert joined.status_code == 200, joined.text
                # The answer comes by the stream, which ends with the session's last event.
                told = ben.get(f"/gradio_api/queue/data?session_hash={session}").text
                assert "process_completed" in told
            else:
                told = ben.post("/gradio_api/run/predict", json=body).text
            assert "Secret of Ada" not in told and "Ada's" not in told and "Traceback" not in told
            asked += 1
    assert asked >= 6
    assert ben.get(f"/export/{ada_s.id}.zip").status_code == 404
    assert store.get(ada_s.id).state == "succeeded" and (ada_s.folder / "adapter").is_dir()


def test_the_owner_sees_and_fetches_it(outside: TestClient, ada_s: Run) -> None:
    ada = enter(outside, "ada")
    told = [call(ada, name, [ada_s.id, {}]).text for name in functions(ada) if name.startswith("refresh")]
    assert any("Secret of Ada" in one for one in told)
    zipped = ada.get(f"/export/{ada_s.id}.zip")
    assert zipped.status_code == 200 and zipped.content[:2] == b"PK"


# --- files ---


def test_no_file_but_the_export_is_served(outside: TestClient, store: RunStore, ada_s: Run, tmp_path: Path) -> None:
    upload = store.data_dir / "uploads" / ("a" * 32)
    upload.mkdir(exist_ok=True)
    (upload / "mine.zip").write_text("x")
    places = [
        "/etc/passwd", ada_s.folder / "log.txt", ada_s.folder / "run.json", store.data_dir / "redis" / "appendonly.aof",
        upload / "mine.zip", store.data_dir / "exports", Path(__file__), Path.cwd() / "pyproject.toml",
        f"{store.data_dir}/exports/../redis/redis.log", "/proc/self/environ",
    ]  # fmt: skip
    with TestClient(application(store, store.data_dir), base_url=HERE) as opened:
        for client in (enter(outside, "ben"), opened):
            for place in places:
                for form in ("file=", "file/"):
                    answer = client.get(f"/gradio_api/{form}{place}", follow_redirects=False)
                    assert answer.status_code in (403, 404), (place, answer.status_code)
            fetched = client.get("/gradio_api/file=http://169.254.169.254/latest", follow_redirects=False)
            assert fetched.status_code in (302, 307, 403, 404)


def test_only_uploads_and_named_folders_may_be_typed(store: RunStore, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "set").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (root / "link").symlink_to(tmp_path / "other")
    upload = store.data_dir / "uploads" / ("b" * 32)
    upload.mkdir(exist_ok=True)
    access = locked(store, (root,))
    for place in (root / "set", upload / "x.zip", root):
        access.check_place(place)
    for place in (
        tmp_path / "other", root / "set" / ".." / ".." / "other", root / "link", store.data_dir / "uploads",
        store.data_dir / "redis", store.data_dir / "uploads" / ".." / "redis", Path("/etc/passwd"), Path("~/.ssh"),
    ):  # fmt: skip
        with pytest.raises(UserError, match="may not be used"):
            access.check_place(place)
    for line in ("/etc/passwd,a", "../secret.npy,b", '"../../x.ply",c'):
        # What an upload's list names is checked by its reader, what the operator's own list names by the page.
        for folder, check in ((upload, read), (root, access.check_data)):
            (folder / "list.csv").write_text(f"file,label\n{line}\n")
            with pytest.raises(UserError):
                check(FolderData(path=folder / "list.csv"))
    (root / "list.csv").write_text("file,label\nsub/a.npy,a\nset/b.npy,b\n")
    access.check_data(FolderData(path=root / "list.csv"))
    free = Access(store.data_dir / "uploads")
    free.check_place(Path("/etc/passwd"))


@pytest.mark.parametrize(
    "part",
    [
        {"data": {"kind": "folder", "path": "/etc"}},
        {"data": {"kind": "hub", "repository": "/srv/parquet"}},
        {"data": {"kind": "hub", "repository": "../../srv"}},
        {"data": {"kind": "h5", "train": "/srv/x.h5"}},
        {"backbone": {"kind": "own", "weights": "/srv/x.pth"}},
    ],
)
def test_a_run_names_no_other_place(store: RunStore, part: dict[str, Any]) -> None:
    config = parse_config(part)
    with pytest.raises(UserError, match="may not be used"):
        locked(store).check(config)
    Access(store.data_dir / "uploads").check(config)


def test_nothing_of_gradio_tells_or_keeps_more_than_it_must(outside: TestClient) -> None:
    """No recorded runs in the browser, no public function but those of the API, no MCP server, no API page."""
    ada = enter(outside, "ada")
    config = ada.get("/config").json()
    named = set(ada.get("/gradio_api/info").json()["named_endpoints"])
    assert named == {f"/{name}" for name in OF_THE_API}
    assert {one["api_name"] for one in config["dependencies"] if one["api_visibility"] != "private"} == set(OF_THE_API)
    assert config.get("run_history") in (False, None) and not config.get("mcp_server")
    assert ada.get("/gradio_api/mcp/").status_code in (404, 405)
    assert ada.get("/docs").status_code == 404 and ada.get("/openapi.json").status_code == 404


def test_the_export_holds_the_adapter_alone(outside: TestClient, ada_s: Run, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(enter(outside, "ada").get(f"/export/{ada_s.id}.zip").content)
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["adapter/config.json"]


@pytest.mark.parametrize(
    "name", ["https://evil.org/x", "owner/name/more", "owner", "owner/na me", "file:///etc/passwd", "o/n?x=1"]
)
def test_data_of_the_hub_are_names_and_not_addresses(name: str) -> None:
    with pytest.raises(UserError, match="no data set of the Hub"):
        parse_config({"data": {"kind": "hub", "repository": name}})
