"""One address for redis-py and Celery, and refusals that a person understands."""

from __future__ import annotations

import pytest
from pointsmith.core.errors import UserError
from pointsmith.worker.connection import RedisAddress, Unreachable


@pytest.mark.parametrize(
    ("url", "ours", "celery", "local"),
    [
        ("redis://localhost:6379/1", "redis://localhost:6379/1", "redis://localhost:6379/1", True),
        ("redis://127.0.0.2", "redis://127.0.0.2", "redis://127.0.0.2", True),
        ("redis://[::1]:7000/0", "redis://[::1]:7000/0", "redis://[::1]:7000/0", True),
        ("redis://:s@far:6379/0", "redis://:s@far:6379/0", "redis://:s@far:6379/0", False),
        ("rediss://:s@far/0", "rediss://:s@far/0", "rediss://:s@far/0?ssl_cert_reqs=required", False),
        (
            "rediss://:s@far/0?ssl_cert_reqs=none",
            "rediss://:s@far/0?ssl_cert_reqs=none",
            "rediss://:s@far/0?ssl_cert_reqs=none",
            False,
        ),
        ("unix:///a/b.sock", "unix:///a/b.sock?db=0", "redis+socket:///a/b.sock?virtual_host=0", True),
        (
            "redis+socket:///a/b.sock?virtual_host=1&password=x%26y",
            "unix:///a/b.sock?db=1&password=x%26y",
            "redis+socket:///a/b.sock?virtual_host=1&password=x%26y",
            True,
        ),
    ],
)
def test_both_forms(url: str, ours: str, celery: str, local: bool) -> None:
    address = RedisAddress.parse(url)
    assert (address.url, address.celery_url, address.local) == (ours, celery, local)


@pytest.mark.parametrize("url", ["redis://far.example:6379/0", "rediss://far.example/0", "redis://10.0.0.5"])
def test_remote_address_without_password_is_refused_unless_forced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no password"):
        RedisAddress.parse(url)
    assert not RedisAddress.parse(url, allow_open=True).local
    monkeypatch.setenv("POINTSMITH_ALLOW_OPEN_REDIS", "1")
    assert RedisAddress.parse(url).url == url


@pytest.mark.parametrize(
    "url", ["http://user:secret@host", "amqp://secret@host", "nonsense", "redis://:secret@host:port"]
)
def test_other_addresses_are_refused_without_repeating_the_password(url: str) -> None:
    with pytest.raises(UserError) as caught:
        RedisAddress.parse(url)
    assert "secret" not in str(caught.value)


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable, match=r"Redis does not answer: 'redis://127.0.0.1:1/0'") as caught:
        RedisAddress.parse("redis://:secret@127.0.0.1:1/0").check()
    assert "secret" not in str(caught.value)
