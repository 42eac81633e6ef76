"""`pointsmith uploads`: which data sets were uploaded, who uses them, and what may go."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from ...core.errors import UserError
from .output import print_json, size, table
from .runs import open_store, service_option


@click.command()
@service_option("--data", "--service")
@click.option("--delete", "gone", multiple=True, metavar="NAME", help="Delete this one; its beginning will do.")
@click.option("--unused", is_flag=True, help="Delete every upload that no run names, and that is a day old or older.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def uploads(service: Path | None, gone: tuple[str, ...], unused: bool, as_json: bool) -> None:
    """List the uploaded data sets with their size and the runs that name them, or delete some.

    What a queued or running run needs is not deleted. POINTSMITH_UPLOADS_GB (default 50) limits them all together,
    POINTSMITH_UPLOADS_PER_USER_GB (default a quarter of that, 0 for no limit) those of each account of the page.

    \b
    Example:
      pointsmith uploads --unused
    """
    from ...worker.quotas import upload_bytes_per_user
    from ...worker.upload_room import UploadRoom, limit_bytes, require_idle, users

    with open_store(service) as store:
        room = UploadRoom(store.data_dir / "uploads")
        found = room.list()
        naming = users(store, [one.name for one in found])
    chosen = [_one(beginning, list(naming)) for beginning in gone]
    if unused:
        old = time.time() - 24 * 3600
        chosen += [one.name for one in found if not naming[one.name] and one.since < old]
    for name in dict.fromkeys(chosen):
        require_idle(name, naming[name])
        room.delete(name)
    left = [one for one in found if one.name not in chosen]
    by_user: dict[str, int] = {}
    for one in left:
        by_user[one.user or one.owner] = by_user.get(one.user or one.owner, 0) + one.bytes
    if as_json:
        print_json({
            "deleted": chosen,
            "limit_bytes": limit_bytes(),
            "limit_bytes_per_user": upload_bytes_per_user(limit_bytes()),
            "bytes_by_user": by_user,
            "uploads": [{**asdict(one), "runs": [run.id for run in naming[one.name]]} for one in left],
        })  # fmt: skip
        return
    for name in chosen:
        click.echo(f"Deleted {name}.")
    rows = [
        (one.name[:12], size(one.bytes), f"{(time.time() - one.since) / 86400:.1f}", str(len(naming[one.name])),
         one.user or one.owner or "-", ", ".join(one.holds))
        for one in left
    ]  # fmt: skip
    if rows:
        click.echo(table(("upload", "size", "days", "runs", "user", "holds"), rows))
    if set(by_user) - {""}:
        click.echo(table(("user", "size"), [(user or "-", size(taken)) for user, taken in sorted(by_user.items())]))
        click.echo(f"Each user may take {size(upload_bytes_per_user(limit_bytes()))}.")
    click.echo(f"{size(sum(one.bytes for one in left))} of {size(limit_bytes())} taken.")


def _one(beginning: str, names: list[str]) -> str:
    fitting = [name for name in names if name.startswith(beginning)]
    if len(fitting) != 1:
        raise UserError("No upload begins so" if not fitting else "Several uploads begin so", got=beginning)
    return fitting[0]
