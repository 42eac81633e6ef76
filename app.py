"""Starts everything: Redis (unless REDIS_URL names one), the workers and the page; Ctrl-C ends all of it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; return 0 then, and 2 after saying why it could not start."""
    options = _parser().parse_args(argv)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    _find_package()
    from pointsmith.core.errors import UserError
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


def _find_package() -> None:
    """Where the package is not installed, as on a Space, which runs a repository as it lies, let it be found here.

    The processes that this one starts find it, too.
    """
    if find_spec("pointsmith") is not None:
        return
    place = Path(tempfile.mkdtemp(prefix="pointsmith-"))
    (place / "pointsmith").symlink_to(Path(__file__).resolve().parent, target_is_directory=True)
    sys.path.insert(0, str(place))
    before = [one for one in (os.environ.get("PYTHONPATH"),) if one]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place), *before])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="app.py", description="Serve Pointsmith's page, with workers that train.")
    host = "0.0.0.0" if os.environ.get("SYSTEM") == "spaces" else "127.0.0.1"
    parser.add_argument("--host", default=host, help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at the same time (default: 1)")
    parser.add_argument("--no-worker", action="store_true", help="serve the page only; workers run elsewhere")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for runs and uploads (default: the user's own)"
    )
    parser.add_argument(
        "--auth",
        action="append",
        default=[],
        metavar="NAME:PASSWORD|FILE",
        help="ask for a login; may be given again. Others see the command line: rather set POINTSMITH_AUTH",
    )
    parser.add_argument("--no-auth", action="store_true", help="no login although a network can reach the page")
    parser.add_argument(
        "--token",
        action="store_true",
        help="ask for a token, which the printed address holds: for machines that several people use. "
        "POINTSMITH_TOKEN or --token-file sets your own",
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="ask for the token in this file")
    parser.add_argument(
        "--data-root",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="visitors may name data below this folder, and nowhere else; may be given again",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which a proxy reaches the page, such as lab.org or https://lab.org:8443",
    )
    parser.add_argument("--mcp", action="store_true", help="offer the API as tools of the Model Context Protocol, too")
    return parser


def _serve(options: argparse.Namespace) -> None:
    from pointsmith.core.errors import UserError

    if options.workers < 0:
        raise UserError("--workers is negative", got=options.workers, expected="0 or more")
    from pointsmith.worker.connection import is_local
    from pointsmith.worker.data_dir import default_data_dir
    from pointsmith.worker.scrub import guard_output

    guard_output()
    door_rules = import_module("pointsmith.ui.access")
    data_dir = (options.data or default_data_dir()).expanduser().absolute()
    access = door_rules.access_of(
        data_dir,
        options.host,
        auth=options.auth,
        no_auth=options.no_auth,
        data_roots=options.data_root,
        token=options.token,
        token_file=options.token_file,
    )
    with _listen(options.host, options.port) as door:
        print("Pointsmith is starting …", flush=True)
        # The page's libraries take seconds to import; Redis and the workers come up meanwhile.
        loading = threading.Thread(target=_warm, daemon=True)
        loading.start()
        from pointsmith.ui.upload_cache import private_cache
        from pointsmith.worker.service import Service

        workers = 0 if options.no_worker else options.workers
        with private_cache(), Service(options.data, workers=workers) as service:
            loading.join()
            server = import_module("pointsmith.ui.server")
            local = is_local(options.host)
            page = server.application(
                service.store, service.data_dir, access, local=local, hosts=options.allowed_host, mcp=options.mcp
            )
            server.serve(page, door, access.token)


def _warm() -> None:
    import_module("pointsmith.ui.server")


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that nothing else is started when the port is taken."""
    from pointsmith.core.errors import UserError

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
