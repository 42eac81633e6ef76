"""`pointsmith serve`: the whole product in the foreground, as `python app.py` starts it."""

from __future__ import annotations

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=0), help="Runs trained at a time.")
@click.option("--data", metavar="DIR", help="Folder of runs and uploads.  [default: $POINTSMITH_DATA, or the user's]")
@click.option("--no-worker", is_flag=True, help="Only the page; workers run elsewhere (`pointsmith worker`).")
@click.option("--auth", multiple=True, metavar="NAME:PASSWORD|FILE", help="Ask for a login; rather $POINTSMITH_AUTH.")
@click.option("--no-auth", is_flag=True, help="No login although a network can reach the page.")
@click.option("--token", is_flag=True, help="Ask for a token, which the printed address holds; or $POINTSMITH_TOKEN.")
@click.option("--token-file", metavar="FILE", help="Ask for the token in this file.")
@click.option("--data-root", multiple=True, metavar="DIR", help="Visitors may name data below it, and nowhere else.")
@click.option("--mcp", is_flag=True, help="Offer the API as tools of the Model Context Protocol, too.")
@click.option("--allowed-host", multiple=True, metavar="NAME", help="A name by which a proxy reaches the page.")
@click.pass_context
def serve(
    ctx: click.Context,
    host: str,
    port: int,
    workers: int,
    data: str | None,
    no_worker: bool,
    no_auth: bool,
    mcp: bool,
    token: bool,
    token_file: str | None,
    **given: tuple[str, ...],
) -> None:
    """Start the page, a worker and, unless REDIS_URL is set, a private Redis. Ctrl-C stops all of it.

    \b
    Example:
      pointsmith serve --port 8000 --data ~/pointsmith
    """
    from ...app import main

    arguments = ["--host", host, "--port", str(port), "--workers", str(workers)]
    arguments += ["--data", data] if data else []
    arguments += ["--no-worker"] if no_worker else []
    arguments += ["--no-auth"] if no_auth else []
    arguments += ["--mcp"] if mcp else []
    arguments += ["--token"] if token else []
    arguments += ["--token-file", token_file] if token_file else []
    for name, values in given.items():
        for value in values:
            arguments += [f"--{name.replace('_', '-')}", value]
    ctx.exit(main(arguments) or 0)
