"""The stage of a run in which the backbone's weights are fetched, if they are not on this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from ..errors import UserError
from ..events import Stage
from ..models.load import fetching_of
from ..models.trunk import TrunkConfig

_NAMED = ("pretrained", "random", "included")
"""What `weights` may say where it is no path."""


def fetch_weights(backbone: TrunkConfig, stop: Callable[[], bool]) -> Generator[Stage, None, bool]:
    """Fetch the weights if they are needed and not here, telling twice a second how far it is.

    Returns whether to go on; False when `stop` came first, and then the part that is here is kept. UserError where they
    cannot be had.
    """
    if backbone.weights not in _NAMED and not Path(backbone.weights).expanduser().exists():
        raise UserError("The weight file does not exist", got=backbone.weights, remedy="Check the path")
    with closing(fetching_of(backbone)) as progress:
        for at in progress:
            yield Stage(stage="backbone", message=str(at), done=at.done_bytes, total=at.total_bytes)
            if stop():
                return False
    return True
