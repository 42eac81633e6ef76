"""`pointsmith submit`, `runs` and `cancel`: talk to a running service through its run store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from ...core.errors import UserError
from .output import duration, print_json, table
from .run_options import RunOptions, make_run, run_options

if TYPE_CHECKING:
    from ...worker.run import Run
    from ...worker.store import RunStore

POLL_SECONDS = 0.3
Callback = TypeVar("Callback", bound=Callable[..., Any])


def service_option(*names: str) -> Callable[[Callback], Callback]:
    """Give a command the option that says which service is meant."""
    return click.option(
        *names,
        "service",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The service's data folder.  [default: $POINTSMITH_DATA, or the user's]",
    )


@click.command()
@run_options
@service_option("--service")
@click.option("--name", help="What the run is called.  [default: METHOD on DATA]")
@click.option(
    "--on",
    "place",
    type=click.Choice(["any", "cpu", "cuda"]),
    default="any",
    show_default=True,
    help="Which workers may take it.",
)
@click.option("--memory", type=float, metavar="GB", help="GPU memory that it needs; with --on cuda.")
@click.option("--follow", is_flag=True, help="Stay and show its progress.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow one event a line.")
@click.pass_context
def submit(
    ctx: click.Context,
    service: Path | None,
    name: str | None,
    place: Literal["any", "cpu", "cuda"],
    memory: float | None,
    follow: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Put a run into the queue of a running service. Takes the options of `train`.

    \b
    Example:
      pointsmith submit --recipe demo --epochs 2 --follow
    """
    from ...worker.capability import Needs
    from ..review import check_files

    needs = Needs(place, memory)
    config = make_run(RunOptions(**options))
    check_files(config)
    with open_store(service) as store:
        run = store.create(config, name=name, needs=needs)
        if follow:
            click.echo(run.id, err=True)
            ctx.exit(follow_run(store, run.id, as_json))
    if as_json:
        print_json(as_plain(run))
    else:
        click.echo(f"{run.id}\nFollow it: pointsmith runs {run.id} --follow")


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@service_option("--data", "--service")
@click.option("--follow", is_flag=True, help="Show the progress of RUN until it ends.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many to list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --follow one event a line.")
@click.pass_context
def runs(ctx: click.Context, run_id: str | None, service: Path | None, follow: bool, limit: int, as_json: bool) -> None:
    """List the newest runs, or show RUN (its id, or enough of its beginning).

    With --follow the exit code is 0 when the run succeeds and 1 when it does not; Ctrl-C leaves the run alone.

    \b
    Example:
      pointsmith runs
      pointsmith runs 3f2a --follow
    """
    if follow and run_id is None:
        raise UserError("--follow needs a run", remedy="Name it, e.g. pointsmith runs RUN --follow")
    with open_store(service) as store:
        if run_id is None:
            _list(store, limit, as_json)
            return
        run = find_run(store, run_id)
        if follow:
            ctx.exit(follow_run(store, run.id, as_json))
    if as_json:
        print_json(as_plain(run))
    else:
        _show(run)


@click.command()
@click.argument("run_id", metavar="RUN")
@service_option("--data", "--service")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cancel(run_id: str, service: Path | None, as_json: bool) -> None:
    """Cancel RUN: a queued one at once, a running one within a second.

    \b
    Example:
      pointsmith cancel 3f2a
    """
    with open_store(service) as store:
        run = find_run(store, run_id)
        before = run.state
        run = store.cancel(run.id)
    if as_json:
        print_json(as_plain(run))
    elif before not in ("queued", "running"):
        click.echo(f"{run.id} had ended already: {before}.")
    else:
        click.echo(f"{run.id}: {'cancelling' if run.cancelling and run.state == 'running' else run.state}.")


@contextmanager
def open_store(data: Path | None) -> Iterator[RunStore]:
    """Yield the store of the service at REDIS_URL or, without it, of the data folder; start nothing.

    UserError when no service is running there.
    """
    from ...worker.connection import RedisAddress, Unreachable
    from ...worker.data_dir import default_data_dir
    from ...worker.store import RunStore

    folder = (data or default_data_dir()).expanduser().absolute()
    url = os.environ.get("REDIS_URL")
    if not url:
        # The private server notes its socket here; it lies elsewhere where the folder's own path is too long for one.
        noted = folder / "redis" / "socket"
        absent = UserError(
            "No service is running on this data folder",
            got=str(folder),
            remedy="Start it with `pointsmith serve`, name its folder, or set REDIS_URL",
        )
        if not noted.is_file():
            raise absent
        address = RedisAddress.of_socket(Path(noted.read_text(encoding="utf-8").strip()))
        try:
            address.check()
        except Unreachable as error:
            raise absent from error
        url = address.url
    store = RunStore(url, folder)
    try:
        yield store
    finally:
        store.close()


def find_run(store: RunStore, text: str) -> Run:
    """Return the run with this id, or the only one whose id begins so; UserError when there is none, or several."""
    if len(text) == 24:
        return store.get(text)
    found = store.find(text)
    if len(found) == 1:
        return store.get(found[0])
    if not found:
        raise UserError("There is no such run", got=text, remedy="Look it up with `pointsmith runs`")
    raise UserError(f"{len(found)} runs begin so", got=text, expected="more of the id")


def as_plain(run: Run) -> dict[str, Any]:
    """Return a run as plain data, for JSON."""
    return {**asdict(run), "folder": str(run.folder)}


def follow_run(store: RunStore, run_id: str, as_json: bool) -> int:
    """Tell a run's events until it ends; return 0 when it succeeded, else 1."""
    from ...core.events import parse_event
    from .narrator import Narrator

    narrator = Narrator(sys.stdout)
    cursor, state = "0", ""
    try:
        while True:
            run = store.get(run_id)
            over = run.state in ("succeeded", "failed", "cancelled")
            events, cursor = store.events(run_id, cursor)
            for event in events:
                if as_json:
                    click.echo(_line(event))
                else:
                    narrator.tell(parse_event.validate_python(event))
            if run.state != state and not as_json:
                place = f", place {run.position}" if run.position else ""
                narrator.line(f"{run.name}: {run.state}{place}")
            state = run.state
            if over and not events:  # the last events may arrive with the end itself
                break
            time.sleep(0 if over else POLL_SECONDS)
    finally:
        narrator.close()
    if run.error:
        click.echo(f"Error: {run.error.get('message', 'unknown')}", err=True)
    if run.state == "succeeded" and run.result and not as_json:
        click.echo(f"Adapter: {store.bring(run, str(run.result.get('adapter') or 'adapter'))}")
    return 0 if run.state == "succeeded" else 1


def _line(event: dict[str, Any]) -> str:
    import json

    return json.dumps(event)


def _list(store: RunStore, limit: int, as_json: bool) -> None:
    found = store.list(limit=limit)
    if as_json:
        print_json([as_plain(run) for run in found])
    elif not found:
        click.echo("No runs yet. Make one with `pointsmith submit --recipe demo`.")
    else:
        rows = [(run.id[:8], run.name, _state(run), _when(run.created), _outcome(run)) for run in found]
        click.echo(table(("run", "name", "state", "created", ""), rows))


def _show(run: Run) -> None:
    rows = [
        ("run", run.id),
        ("name", run.name),
        ("state", _state(run)),
        ("created", _when(run.created)),
        ("worker", run.worker or "–"),
        ("folder", str(run.folder)),
        ("", _outcome(run)),
    ]
    if run.started:
        rows.insert(4, ("took", duration((run.finished or time.time()) - run.started)))
    for name, value in rows:
        if value:
            click.echo(f"{name:<8} {value}")


def _state(run: Run) -> str:
    if run.cancelling and run.state == "running":
        return "cancelling"
    return f"queued ({run.position})" if run.position else run.state


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _outcome(run: Run) -> str:
    if run.error:
        return str(run.error.get("message", ""))
    if run.result and run.result.get("test_accuracy") is not None:
        return f"test {run.result.get('metric') or 'accuracy'} {100 * run.result['test_accuracy']:.1f} %"
    known = run.progress
    if run.state == "running" and known.get("epoch") and known.get("epochs"):
        left = f", {duration(known['eta_seconds'])} left" if known.get("eta_seconds") is not None else ""
        return f"epoch {known['epoch']}/{known['epochs']}{left}"
    return ""
