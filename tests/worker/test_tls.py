"""Redis over TLS for real: certificates are checked, by our own client and by Celery's, and a run goes through."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.connection import RedisAddress, Unreachable
from pointsmith.worker.service import Service

from tests.support.paths import COUNTING_TRAINER
from tests.support.processes import PATIENCE, Child
from tests.support.waiting import FAST, until

TRAINER = (sys.executable, str(COUNTING_TRAINER))
PASSWORD = "a-password-of-the-test"


def _with_tls() -> str | None:
    """A redis-server that knows TLS: the ones that wheels carry do not."""
    for program in (
        os.environ.get("REDIS_TLS_SERVER_BIN"),
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
    ):
        if not program:
            continue
        tried = subprocess.run(
            [program, "-"], input=b"tls-port 0\nport nonsense\n", capture_output=True, timeout=10
        )  # a server without TLS stumbles over the first line, one with it over the second
        if b"port nonsense" in tried.stdout + tried.stderr:
            return program
    return None


SERVER = _with_tls()
pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="no redis-server with TLS is installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def _certificate(folder: Path, name: str, host: str) -> None:
    """An authority of its own, and a certificate for one address that it signed."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req", "-x509", *kind, "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem", "-days", "2", "-subj", "/CN=A"
    )
    openssl("req", *kind, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
    (folder / "names").write_text(f"subjectAltName={host}\n")
    signed = ["-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key", "-CAcreateserial", "-extfile", "names"]
    openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", "2", "-out", f"{name}.pem")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server that speaks TLS only and asks for a password, and the folder of its certificates."""
    folder = tmp_path_factory.mktemp("tls")
    _certificate(folder, "right", "IP:127.0.0.1")
    _certificate(folder, "other", "IP:127.0.0.1")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    assert SERVER is not None
    words = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
    words += ["--tls-cert-file", "right.pem", "--tls-key-file", "right.key", "--tls-ca-cert-file", "right-ca.pem"]
    words += ["--tls-auth-clients", "no", "--appendonly", "no", "--dir", str(folder)]
    process = Child([SERVER, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(_url(port, folder / "right-ca.pem")), "the server")
        yield port, folder
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _url(port: int, authority: Path | None, password: str = PASSWORD) -> str:
    return f"rediss://:{password}@127.0.0.1:{port}/0" + (f"?ssl_ca_certs={authority}" if authority else "")


def _answers(url: str) -> bool:
    try:
        RedisAddress.parse(url).check()
    except UserError:
        return False
    return True


def test_a_certificate_that_nobody_vouches_for_is_refused(server: tuple[int, Path]) -> None:
    port, folder = server
    assert _answers(_url(port, folder / "right-ca.pem"))
    for authority in (folder / "other-ca.pem", None):
        with pytest.raises(Unreachable) as refused:
            RedisAddress.parse(_url(port, authority)).check()
        assert "certificate" in str(refused.value).lower() and PASSWORD not in str(refused.value)
    with pytest.raises(UserError, match="password"):
        RedisAddress.parse(_url(port, folder / "right-ca.pem", "wrong")).check()


def test_celery_checks_the_certificate_too(server: tuple[int, Path]) -> None:
    from kombu import Connection
    from kombu.exceptions import OperationalError

    port, folder = server
    for authority, well in ((folder / "right-ca.pem", True), (folder / "other-ca.pem", False), (None, False)):
        address = RedisAddress.parse(_url(port, authority))
        with Connection(address.celery_url) as connection:
            if well:
                connection.ensure_connection(max_retries=1, timeout=5)
            else:
                with pytest.raises(OperationalError, match=r"(?i)certificate"):
                    connection.ensure_connection(max_retries=1, timeout=5)


def test_a_run_goes_through(server: tuple[int, Path], data: Path) -> None:
    """Service, store, Celery worker and reaper, all by the one address."""
    port, folder = server
    with Service(data, 1, _url(port, folder / "right-ca.pem"), trainer=TRAINER, timing=FAST) as service:
        run = service.store.create({"steps": 5, "seconds": 0.02})
        begun = time.monotonic()
        until(lambda: service.store.get(run.id).state == "succeeded", "the run")
        assert time.monotonic() - begun < 30
        assert [e["step"] for e in service.store.events(run.id)[0] if e["kind"] == "step"] == [1, 2, 3, 4, 5]
    for log in (data / "logs").glob("*"):
        assert PASSWORD not in log.read_text()
