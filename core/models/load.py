"""A backbone ready for use: built from its config, filled from its file, with a fingerprint of what it holds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .download import Progress
from .files import fingerprint, read_tensors
from .layouts import LAYOUTS, check_names, recognise
from .shapes_only import shapes_only
from .source import Source
from .trunk import Positions, Trunk, TrunkConfig
from .weight_files import fetch, fetching, published


@dataclass(frozen=True)
class Loaded:
    """A trunk; `initialised` are its parameters that no file provided (an adapter has to keep them)."""

    trunk: Trunk
    initialised: frozenset[str]
    sha256: str
    origin: str


def load_backbone(config: TrunkConfig, *, seed: int = 0, positions: Positions = "every-block") -> Loaded:
    """Build the backbone and fill it. What the file lacks is drawn from `seed`, the same on every machine.

    UserError when the file is absent, or does not fit the config: names what is missing, unknown or misshapen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = config.build(positions)
    state = trunk.state_dict()
    if config.weights == "random":
        return Loaded(trunk, frozenset(), fingerprint(state), f"random weights of seed {seed}")
    if config.weights == "included":
        return Loaded(trunk, frozenset(state), "", "the adapter itself")
    path, layout_name = locate(config)
    tensors = read_tensors(path)
    layout_name = layout_name or recognise(tensors)
    if layout_name is None:
        raise UserError(
            f"{path.name} is of no known layout", got=sorted(tensors)[:3], expected=f"one of {', '.join(LAYOUTS)}"
        )
    _check_kind(config, path, layout_name)
    layout = LAYOUTS[layout_name]
    given, unknown = layout.translate(tensors)
    given = {name.removeprefix("trunk."): tensor for name, tensor in given.items() if name.startswith("trunk.")}
    given = {name: tensor for name, tensor in given.items() if name not in config.unneeded}
    given = {name: tensor.to(state[name].dtype) if name in state else tensor for name, tensor in given.items()}
    lacks = tuple(name.removeprefix("trunk.") for name in layout.lacks)
    check_names(state, given, unknown, path.name, lacks)
    trunk.load_state_dict({**state, **given})
    return Loaded(trunk, frozenset(set(state) - set(given)), fingerprint(given), path.name)


def source_of(config: TrunkConfig) -> Source:
    """Return where the backbone of this config comes from."""
    source: Any = getattr(type(config), "source", None)
    return source if isinstance(source, Source) else Source(layout="pointsmith")


def _check_kind(config: TrunkConfig, path: Path, layout: str) -> None:
    """Refuse the file of another backbone, which may well be of the same sizes."""
    source = source_of(config)
    if source.layouts and layout not in (source.layout, *source.layouts):
        raise UserError(
            f"{path.name} is not a file of {config.shape.title}",
            got=f"the layout {layout}",
            expected=f"one of {', '.join((source.layout, *source.layouts))}",
            remedy="Choose the backbone that the file was made for, or `own`, which takes any file of its sizes",
        )


def kind_of(config: TrunkConfig) -> str:
    """Return the name by which the backbone is chosen."""
    return str(getattr(config, "kind", "backbone"))


def not_in_file(config: TrunkConfig) -> frozenset[str]:
    """Return the parameters that the backbone's file is known not to hold, without reading it."""
    if config.weights == "random":
        return frozenset()
    if config.weights == "included":
        with shapes_only():
            return frozenset(config.build("every-block").state_dict())
    lacks = frozenset(name.removeprefix("trunk.") for name in LAYOUTS[source_of(config).layout].lacks)
    return lacks - config.unneeded


def locate(config: TrunkConfig) -> tuple[Path, str | None]:
    """Return (file, name of its layout or None when the file itself must tell); fetches a file that is not here.

    A published file is held to its SHA-256 every time, where one is known.
    """
    if config.weights != "pretrained":
        return Path(config.weights).expanduser(), None
    source = source_of(config)
    if not published(source):
        raise UserError(
            "This backbone has no weights of its own",
            got=config.weights,
            expected="`random` or the path of a weight file",
        )
    path = fetch(kind_of(config), source).path
    placed_by_hand = not (source.asset or source.repository or source.url)
    return path, None if placed_by_hand else source.layout


def fetching_of(config: TrunkConfig) -> Generator[Progress, None, None]:
    """Fetch the backbone's file if it is needed and not here, yielding how far it is; see `weight_files.fetching`."""
    source = source_of(config)
    if config.weights == "pretrained" and published(source):
        yield from fetching(kind_of(config), source)
