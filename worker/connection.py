"""One Redis address, understood by redis-py and by Celery alike, and refused where it would be unsafe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..core.errors import UserError

ALLOW_OPEN = "POINTSMITH_ALLOW_OPEN_REDIS"


class Unreachable(UserError):
    """Redis does not answer: what was asked may be asked again."""


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is: `url` as redis-py reads it, `celery_url` as Celery does."""

    url: str
    celery_url: str
    shown: str
    """Without user name and password, for messages."""
    local: bool
    """A unix socket or a loopback address: no network can come between."""

    @classmethod
    def parse(cls, url: str, *, allow_open: bool | None = None) -> RedisAddress:
        """Understand `redis://`, `rediss://`, `unix://` and Celery's `redis+socket://`.

        Raises UserError for another scheme, and for a `redis://` address on another machine without a password
        unless `allow_open` (default: the environment variable POINTSMITH_ALLOW_OPEN_REDIS) says so.
        """
        parts = urlsplit(url)
        if parts.scheme in ("unix", "redis+socket"):
            return _socket_address(parts.path, dict(parse_qsl(parts.query)))
        if parts.scheme not in ("redis", "rediss"):
            raise UserError(
                "The Redis address is of an unknown kind",
                got=without_credentials(url),
                expected="redis://, rediss:// or unix:///path",
                remedy="Correct REDIS_URL, or unset it to use the private Redis that comes with Pointsmith",
            )
        try:
            port = parts.port or 6379
        except ValueError as error:
            raise UserError(
                "The Redis address has no valid port", got=without_credentials(url), expected="redis://host:6379/0"
            ) from error
        host = parts.hostname or "localhost"
        local = is_local(host)
        if allow_open is None:
            allow_open = os.environ.get(ALLOW_OPEN, "") not in ("", "0")
        if not (local or parts.password or allow_open):
            raise UserError(
                "The Redis address names another machine but has no password",
                got=without_credentials(url),
                expected="rediss://:PASSWORD@host:port/0, because whoever reaches an open Redis owns its runs",
                remedy=f"Add a password, or set {ALLOW_OPEN}=1 when a private network protects it",
            )
        celery_url = url
        if parts.scheme == "rediss":
            query = dict(parse_qsl(parts.query))
            query.setdefault("ssl_cert_reqs", "required")  # kombu would silently trust every certificate
            celery_url = urlunsplit(parts._replace(query=urlencode(query)))
        shown = f"{parts.scheme}://{host}:{port}{parts.path}"
        return cls(url=url, celery_url=celery_url, shown=shown, local=local)

    @classmethod
    def of_socket(cls, path: Path) -> RedisAddress:
        """The address of a server on a unix socket."""
        return _socket_address(str(path), {})

    def client(self, *, retries: int = 1) -> redis.Redis[str]:
        """A client that gives up at once: redis-py's own ten retries would hold a supervisor for seconds.

        One retry makes a restarted server unnoticeable where a connection had been idle.
        """
        return redis.Redis.from_url(
            self.url,
            decode_responses=True,
            retry=Retry(NoBackoff(), retries),
            socket_timeout=15,
            socket_connect_timeout=5,
            health_check_interval=10,
        )

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn redis-py's errors into one sentence: Unreachable for a missing server, UserError for a refusal."""
        try:
            yield
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise UserError(
                f"Redis refused the password or the user ({error})",
                got=self.shown,
                remedy="Correct the user and the password in REDIS_URL",
            ) from error
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Unreachable(
                    "The certificate of Redis is not to be trusted",
                    got=self.shown,
                    expected="one for this address, signed by an authority that this machine knows",
                    remedy="Name the authority's file at the end of REDIS_URL: ?ssl_ca_certs=/path/ca.pem",
                ) from error
            raise Unreachable(
                "Redis does not answer",
                got=self.shown,
                expected="a running Redis server at this address",
                remedy="Start it, correct REDIS_URL, or unset REDIS_URL to use the private Redis of Pointsmith",
            ) from error
        except redis.exceptions.OutOfMemoryError as error:
            raise UserError(
                "Redis has no memory left", got=self.shown, remedy="Delete old runs or raise its maxmemory"
            ) from error

    def check(self) -> None:
        """Ask the server for a sign of life; raises as `answering` does."""
        with self.answering():
            client: Any = self.client()
            try:
                client.ping()
            finally:
                client.close()


def _socket_address(path: str, query: dict[str, str]) -> RedisAddress:
    path = unquote(path)
    db = query.get("db", query.get("virtual_host", "0"))
    secret = f"&password={quote(query['password'], safe='')}" if query.get("password") else ""
    quoted = quote(path)
    return RedisAddress(
        url=f"unix://{quoted}?db={db}{secret}",
        celery_url=f"redis+socket://{quoted}?virtual_host={db}{secret}",
        shown=f"unix://{path}",
        local=True,
    )


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def without_credentials(url: str) -> str:
    """An address as it may be shown and logged."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else rest.rpartition("@")[2] or scheme
