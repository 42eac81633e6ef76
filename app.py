"""Starts everything: Redis (unless REDIS_URL names one), the workers and the page; Ctrl-C ends all of it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pointsmith.core.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; return 0 then, and 2 after saying why it could not start."""
    options = _parser().parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from pointsmith.worker.service import ending_on_sigterm

    try:
        with ending_on_sigterm():
            _serve(options)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="app.py", description="Serve Pointsmith's page, with workers that train.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at the same time (default: 1)")
    parser.add_argument("--no-worker", action="store_true", help="serve the page only; workers run elsewhere")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for runs and uploads (default: the user's own)"
    )
    return parser


def _serve(options: argparse.Namespace) -> None:
    if options.workers < 0:
        raise UserError("--workers is negative", got=options.workers, expected="0 or more")
    with _listen(options.host, options.port) as door:
        print("Pointsmith is starting …", flush=True)
        # The page's libraries take seconds to import; Redis and the workers come up meanwhile.
        loading = threading.Thread(target=_warm, daemon=True)
        loading.start()
        from pointsmith.worker.service import Service

        workers = 0 if options.no_worker else options.workers
        with Service(options.data, workers=workers) as service:
            loading.join()
            server = import_module("pointsmith.ui.server")
            server.serve(server.application(service.store, service.data_dir), door)


def _warm() -> None:
    import_module("pointsmith.ui.server")


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that nothing else is started when the port is taken."""
    if not 0 <= port <= 65535:
        raise UserError("--port is not a port", got=port, expected="0 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError("--host is not an address of this machine", got=host) from error
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(place)
        # With SO_REUSEADDR only listening finds out that another program already does.
        door.listen(128)
    except OSError as error:
        door.close()
        raise UserError(
            f"Cannot listen on {host}, port {port} ({error.strerror})",
            remedy="Choose another one with --port, or stop the program that uses it",
        ) from error
    return door


if __name__ == "__main__":
    sys.exit(main())
