"""The tables of a sweep as files, for whoever may see it."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request, Response

from ..core.errors import UserError
from ..core.training.sweep import latex, means_csv, runs_csv
from ..worker.own_runs import NOBODY
from ..worker.store import RunStore
from ..worker.sweeps import Sweeps
from .access import Access
from .neutral_errors import AnswerError

_FILES = {
    "means.csv": (means_csv, "text/csv"),
    "runs.csv": (runs_csv, "text/csv"),
    "table.tex": (latex, "application/x-tex"),
}


def sweep_files(store: RunStore, access: Access) -> Callable[[str, str, Request], Response]:
    """Return the handler of `/sweep/{sweep_id}/{name}`."""

    def send(sweep_id: str, name: str, request: Request) -> Response:
        visitor = access.visitor(request)
        if visitor is None:
            raise AnswerError(401, "Log in first.")
        if name not in _FILES:
            raise AnswerError(404, "A sweep has no such file.")
        owner = None if access.door == "open" else visitor or NOBODY
        try:
            sweep = Sweeps(store, lambda: owner).get(sweep_id)
        except UserError as error:
            raise AnswerError(404, str(error)) from error
        make, kind = _FILES[name]
        headers = {"Content-Disposition": f'attachment; filename="sweep-{sweep.id[:8]}-{name}"'}
        return Response(make(sweep.outcomes), media_type=f"{kind}; charset=utf-8", headers=headers)

    return send
