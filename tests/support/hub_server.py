"""A small Hub that speaks the protocol of huggingface_hub's client, with the faults that a real one has.

Creating, validating a card, preupload, LFS (batch, upload, verify), commits on a parent, listing, resolving with
ranges; private and renamed repositories, and faults that tests ask for.
`python -m tests.support.hub_server PORT` runs it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.support.processes import join

ADA = "hf_" + "A" * 34
"""May write to what is ada's and club's."""
READER = "hf_" + "R" * 34
"""Ada's too, but may only read."""
LFS_FROM = 4096
"""Larger files, and those of these kinds, are large files."""
LFS_KINDS = (".safetensors", ".png", ".whl")


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    message: str
    files: dict[str, Blob]


@dataclass
class Repo:
    private: bool
    commits: list[Commit]
    sdk: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.commits[-1]
        return next((one for one in self.commits if one.oid == revision), None)


@dataclass
class Fault:
    """What happens to the next `times` requests whose `METHOD /path` the pattern is found in.

    `status` answers with it, `cut` ends the connection after so many bytes of the answer (0: before any), `corrupt`
    changes a byte of the answer, `pause` waits so many seconds first, and `after` does the work and then cuts.
    """

    pattern: str
    status: int | None = None
    cut: int | None = None
    corrupt: bool = False
    pause: float = 0.0
    after: bool = False
    times: int = 1
    code: str | None = None


@dataclass
class Hub:
    """What is on the server; tests look at it and change it between requests."""

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    before_commit: Callable[[], None] | None = None
    """Called once before the next commit is looked at: somebody else's turn."""
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, kind: str, name: str, files: dict[str, bytes], *, private: bool = False, message: str = "") -> str:
        """Commit files to a repository, made if need be, as somebody else would; return the commit."""
        with self.lock:
            repo = self.repos.setdefault((kind, name), Repo(private, [_commit({}, "initial commit", "", "")]))
            parent = repo.commits[-1]
            blobs = {path: Blob(content, _large(path, len(content))) for path, content in files.items()}
            self.lfs.update({blob.sha256: blob.content for blob in blobs.values() if blob.lfs})
            repo.commits.append(_commit({**parent.files, **blobs}, "a commit", message, parent.oid))
            return repo.commits[-1].oid

    def files(self, name: str, kind: str = "model") -> dict[str, bytes]:
        """The files of a repository's newest commit."""
        return {path: blob.content for path, blob in self.repos[kind, name].commits[-1].files.items()}


def _large(path: str, size: int) -> bool:
    return path.endswith(LFS_KINDS) or (size > LFS_FROM and not path.endswith((".md", ".json", ".py", ".txt", ".yaml")))


def _commit(files: dict[str, Blob], title: str, message: str, parent: str) -> Commit:
    said = json.dumps([title, message, parent, time.time_ns(), {path: blob.sha256 for path, blob in files.items()}])
    return Commit(hashlib.sha1(said.encode()).hexdigest(), title, message, files)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self.serve()

    def do_HEAD(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def serve(self) -> None:
        parts = urlsplit(self.path)
        self.place, self.query = unquote(parts.path), parse_qs(parts.query)
        asked = f"{self.command} {self.place}"
        self.hub.requests.append(asked)
        self.body = self.read_body()
        self.cut: int | None = None
        self.corrupt = False
        fault = next((one for one in self.hub.faults if one.times and re.search(one.pattern, asked)), None)
        if fault:
            fault.times -= 1
            time.sleep(fault.pause)
            if fault.status:
                return self.say(fault.status, {"error": "a fault"}, code=fault.code)
            self.cut = 0 if fault.after else fault.cut
            self.corrupt = fault.corrupt
            if self.cut == 0 and not fault.after:
                self.close_connection = True
                return None
        for methods, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, self.place)
            if found and self.command in methods:
                return answer(self, *found.groups())
        return self.say(404, {"error": f"no such route: {asked}"})

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().strip(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def say(self, status: int, content: object, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        said = {"Content-Type": "application/json", **(headers or {})}
        if code:
            said["X-Error-Code"] = code
        if status >= 400 and isinstance(content, dict):
            said["X-Error-Message"] = str(content.get("error", ""))
        self.send(status, json.dumps(content).encode(), said)

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        if self.cut == 0:
            self.close_connection = True
            return
        if self.corrupt and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: self.cut])
        if self.cut is not None:
            self.close_connection = True

    # --- who is it, and what may he ---

    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def known(self) -> bool:
        return self.token() in (ADA, READER)

    def refused(self, writing: bool, name: str = "ada/") -> bool:
        """Answer with 401 or 403 where the token does not do; return whether it was so."""
        token = self.token()
        if token is not None and not self.known():
            self.say(401, {"error": "Invalid credentials in Authorization header"})
            return True
        if not writing:
            return False
        if token is None:
            self.say(401, {"error": "Invalid username or password."})
            return True
        if token == READER or name.split("/")[0] not in ("ada", "club"):
            self.say(403, {"error": f"You don't have the rights to write to {name}"})
            return True
        return False

    def repo(self, kind: str, name: str) -> Repo | None:
        """The repository, or None after the answer that it is not there for this visitor."""
        if name in self.hub.renamed:
            new = self.path.replace(name, self.hub.renamed[name])
            self.send(307, b"", {"Location": self.hub.url + new})
            return None
        found = self.hub.repos.get((kind, name))
        if found is None or (found.private and not self.known()):
            status = 404 if self.known() else 401
            self.say(status, {"error": "Repository not found"}, code="RepoNotFound")
            return None
        return found

    def commit_at(self, repo: Repo, revision: str) -> Commit | None:
        found = repo.at(revision)
        if found is None:
            self.say(404, {"error": f"Invalid rev id: {revision}"}, code="RevisionNotFound")
        return found

    # --- the routes ---

    def whoami(self) -> None:
        if self.token() is None or self.refused(False):
            if self.token() is None:
                self.say(401, {"error": "Invalid username or password."})
            return
        role = "read" if self.token() == READER else "write"
        access = {"displayName": "test", "role": role}
        self.say(
            200,
            {
                "type": "user",
                "id": "1",
                "name": "ada",
                "fullname": "Ada",
                "orgs": [{"name": "club"}],
                "auth": {"type": "access_token", "accessToken": access},
            },
        )

    def create(self) -> None:
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or "ada"
        name = f"{owner}/{wanted['name']}"
        if self.refused(True, name):
            return
        kind = wanted.get("type") or "model"
        prefix = {"model": "", "space": "spaces/", "dataset": "datasets/"}[kind]
        url = f"{self.hub.url}/{prefix}{name}"
        with self.hub.lock:
            if (kind, name) in self.hub.repos:
                return self.say(409, {"error": "You already created this repo", "url": url})
            first = {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            repo = Repo(private, [_commit(first, "initial commit", "", "")], wanted.get("sdk"))
            self.hub.repos[kind, name] = repo
        return self.say(200, {"url": url, "name": name, "id": "1"})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        if self.refused(False) or not (repo := self.repo(kind, name)):
            return
        commit = self.commit_at(repo, revision or "main")
        if not commit:
            return
        readme = commit.files.get("README.md")
        card = _front(readme.content.decode()) if readme else {}
        self.say(
            200,
            {
                "_id": "1",
                "id": name,
                "modelId": name,
                "author": name.split("/")[0],
                "sha": commit.oid,
                "private": repo.private,
                "downloads": 0,
                "likes": 0,
                "tags": card.get("tags", []),
                "cardData": card,
                "library_name": card.get("library_name"),
                "sdk": repo.sdk,
                "siblings": [_sibling(path, blob, "blobs" in self.query) for path, blob in commit.files.items()],
            },
        )

    def tree(self, kind: str, name: str, revision: str, below: str | None) -> None:
        if self.refused(False) or not (repo := self.repo(kind, name)):
            return
        if commit := self.commit_at(repo, revision):
            files = [(path, blob) for path, blob in commit.files.items() if path.startswith(below or "")]
            self.say(200, [{"type": "file", "path": p, "oid": b.git, "size": len(b.content)} for p, b in files])

    def commits(self, kind: str, name: str, revision: str) -> None:
        if self.refused(False) or not (repo := self.repo(kind, name)):
            return
        if commit := self.commit_at(repo, revision):
            upto = repo.commits[: repo.commits.index(commit) + 1]
            date = "2026-01-01T00:00:00.000Z"
            said = [
                {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": "ada"}], "date": date}
                for c in reversed(upto)
            ]
            self.say(200, said)

    def validate(self) -> None:
        wanted = json.loads(self.body)
        try:
            front = _front(wanted["content"])
        except yaml.YAMLError as error:
            return self.say(400, {"error": "bad", "errors": [{"message": f"not YAML: {error}"}], "warnings": []})
        errors = _complaints(front, wanted["repoType"])
        if errors:
            return self.say(400, {"error": "bad", "errors": [{"message": one} for one in errors], "warnings": []})
        return self.say(200, {"errors": [], "warnings": []})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        if self.refused(True, name) or not (repo := self.repo(kind, name)):
            return
        files = []
        for wanted in json.loads(self.body)["files"]:
            path, size = wanted["path"], wanted["size"]
            there = repo.commits[-1].files.get(path)
            oid = (there.sha256 if there.lfs else there.git) if there else None
            mode = "lfs" if _large(path, size) else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.say(200, {"files": files, "commitOid": repo.commits[-1].oid})

    def batch(self, prefix: str | None, name: str) -> None:
        if self.refused(True, name):
            return
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            oid, found = wanted["oid"], {"oid": wanted["oid"], "size": wanted["size"]}
            if oid not in self.hub.lfs:
                upload = {"href": f"{self.hub.url}/lfs/{oid}", "header": {}}
                found["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/verify/{oid}"}}
            objects.append(found)
        self.say(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.say(400, {"error": "the content does not have this SHA-256"})
        self.hub.lfs[oid] = self.body
        return self.say(200, {})

    def verify(self, oid: str) -> None:
        wanted = json.loads(self.body)
        right = oid in self.hub.lfs and len(self.hub.lfs[oid]) == wanted["size"]
        self.say(200 if right else 404, {"error": "" if right else "there is no such object"})

    def commit(self, kind: str, name: str, revision: str) -> None:
        if self.refused(True, name) or not (repo := self.repo(kind, name)):
            return
        before, self.hub.before_commit = self.hub.before_commit, None
        if before:
            before()
        with self.hub.lock:
            head = repo.commits[-1]
            files, header = dict(head.files), {}
            for line in self.body.splitlines():
                entry = json.loads(line)
                key, value = entry["key"], entry["value"]
                if key == "header":
                    header = value
                elif key == "file":
                    files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
                elif key == "lfsFile":
                    if value["oid"] not in self.hub.lfs:
                        return self.say(400, {"error": f"{value['path']} was not uploaded"})
                    files[value["path"]] = Blob(self.hub.lfs[value["oid"]], True)
                elif key == "deletedFile" and files.pop(value["path"], None) is None:
                    return self.say(404, {"error": "A file with this name doesn't exist"}, code="EntryNotFound")
            if header.get("parentCommit") not in (None, head.oid):
                return self.say(412, {"error": "A commit has happened since. Please refresh and try again."})
            made = _commit(files, header["summary"], header.get("description", ""), head.oid)
            repo.commits.append(made)
        url = f"{self.hub.url}/{name}/commit/{made.oid}"
        return self.say(200, {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def resolve(self, prefix: str | None, name: str, revision: str, path: str) -> None:
        kind = "space" if prefix else "model"
        if self.refused(False) or not (repo := self.repo(kind, name)):
            return
        commit = self.commit_at(repo, revision)
        if not commit:
            return
        blob = commit.files.get(path)
        if blob is None:
            return self.say(404, {"error": "Entry not found"}, code="EntryNotFound")
        named = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.git}"', "Accept-Ranges": "bytes"}
        if blob.lfs:
            named |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
            return self.send(302, b"", {**named, "Location": f"{self.hub.url}/cdn/{blob.sha256}"})
        return self.ranged(blob.content, named)

    def cdn(self, oid: str) -> None:
        if oid not in self.hub.lfs:
            return self.say(403, {"error": "no such object"})
        return self.ranged(self.hub.lfs[oid], {"ETag": f'"{oid}"'})

    def ranged(self, content: bytes, headers: dict[str, str]) -> None:
        headers = {"Content-Type": "application/octet-stream", **headers}
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not found:
            return self.send(200, content, headers)
        start = int(found[1])
        if start >= len(content):
            return self.send(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(206, content[start:], {**headers, "Content-Range": where})


def _sibling(path: str, blob: Blob, whole: bool) -> dict[str, Any]:
    if not whole:
        return {"rfilename": path}
    large = {"lfs": {"sha256": blob.sha256, "size": len(blob.content), "pointerSize": 130}} if blob.lfs else {}
    return {"rfilename": path, "size": len(blob.content), "blobId": blob.git, **large}


def _front(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    return (yaml.safe_load(found[1]) or {}) if found else {}


def _complaints(front: dict[str, Any], kind: str) -> list[str]:
    """What the Hub checks of a card's metadata, in as much as our cards use it."""
    said = []
    for one in front.get("base_model") or []:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", one):
            said.append(f'"base_model" with value "{one}" is not valid. Use a model id from the Hub')
    relation = front.get("base_model_relation")
    if relation not in (None, "adapter", "merge", "quantized", "finetune"):
        said.append('"base_model_relation" must be one of [adapter, merge, quantized, finetune]')
    if not isinstance(front.get("tags", []), list):
        said.append('"tags" must be an array')
    for model in front.get("model-index") or []:
        for result in model["results"]:
            if not result["task"].get("type") or not result["dataset"].get("type") or not result["metrics"]:
                said.append('"model-index" is not valid')
    if kind == "space":
        for colour in ("colorFrom", "colorTo"):
            if front.get(colour) not in (None, "red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"):
                said.append(f'"{colour}" must be one of [red, yellow, green, blue, indigo, purple, pink, gray]')
        if len(front.get("short_description", "")) > 60:
            said.append('"short_description" length must be less than or equal to 60 characters long')
        if front.get("sdk") not in ("gradio", "docker", "static"):
            said.append('"sdk" must be one of [gradio, docker, static]')
    return said


def _typed(answer: Callable[..., None]) -> Callable[..., None]:
    """Let `models` and `spaces` in an address be the kinds that they are."""
    return lambda handler, kind, *rest: answer(handler, kind.removesuffix("s"), *rest)


_ID = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("GET",), "/api/whoami-v2", Handler.whoami),
    (("POST",), "/api/repos/create", Handler.create),
    (("POST",), "/api/validate-yaml", Handler.validate),
    (("GET",), rf"/api/(models|spaces)/{_ID}(?:/revision/(.+))?", _typed(Handler.info)),
    (("GET",), rf"/api/(models|spaces)/{_ID}/tree/([^/]+)(?:/(.+))?", _typed(Handler.tree)),
    (("GET",), rf"/api/(models|spaces)/{_ID}/commits/([^/]+)", _typed(Handler.commits)),
    (("POST",), rf"/api/(models|spaces)/{_ID}/preupload/([^/]+)", _typed(Handler.preupload)),
    (("POST",), rf"/api/(models|spaces)/{_ID}/commit/([^/]+)", _typed(Handler.commit)),
    (("POST",), rf"/(spaces/)?{_ID}\.git/info/lfs/objects/batch", Handler.batch),
    (("PUT",), r"/lfs/([0-9a-f]{64})", Handler.upload),
    (("POST",), r"/verify/([0-9a-f]{64})", Handler.verify),
    (("GET", "HEAD"), r"/cdn/([0-9a-f]{64})", Handler.cdn),
    (("GET", "HEAD"), rf"/(spaces/)?{_ID}/resolve/([^/]+)/(.+)", Handler.resolve),
]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def serving_hub(port: int = 0) -> Iterator[Hub]:
    """Serve an empty Hub at `.url` while the block runs."""
    hub = Hub()
    server = Server(("127.0.0.1", port), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        join([thread])


if __name__ == "__main__":
    with serving_hub(int(sys.argv[1])) as running:
        print(running.url, flush=True)
        signal.pause()
