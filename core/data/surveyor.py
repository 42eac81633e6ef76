"""What the children of `survey` do: look at one file and return its items."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..errors import UserError
from .clouds import NotFinite, upright
from .facts import Fault, Item, measure, measure_image
from .files import NoPoints, read_shapes
from .h5 import read_file
from .picture import read_image
from .sandbox.protocol import Progress
from .thumbnail import cloud_picture, cloud_preview, image_picture, image_preview, preview_points

MESH_POINTS = 2048
"""Points taken of a mesh: enough to measure and to show."""


@dataclass(frozen=True)
class Job:
    """One file to look at. `pictures` is how many of its inputs are to be drawn."""

    kind: Literal["cloud", "image", "h5"]
    path: str
    name: str
    part: str
    label: str = ""
    pictures: int = 0
    up: str = "y"


def look(job: Job) -> Iterator[Item]:
    """Yield what a file holds: one item, or one for each of its clouds; a fault is an item too."""
    path = Path(job.path)
    try:
        if path.is_file() and not path.stat().st_size:
            yield Item(job.name, job.part, job.label, fault="empty", reason="the file is empty")
        elif job.kind == "image":
            yield _image(job, read_image(path, job.name))
        elif job.kind == "h5":
            yield from _h5(job, path)
        else:
            yield from _clouds(job, path)
    except UserError as error:
        yield Item(job.name, job.part, job.label, fault=_fault(error), reason=_reason(error))
    except MemoryError:
        yield Item(job.name, job.part, job.label, fault="unreadable", reason="it needs more memory than is allowed")


def _reason(error: UserError) -> str:
    return error.what if error.got is None else f"{error.what}: {error.got!r}"


def _fault(error: UserError) -> Fault:
    return "not-finite" if isinstance(error, NotFinite) else "empty" if isinstance(error, NoPoints) else "unreadable"


def _image(job: Job, image: Image.Image) -> Item:
    item = Item(job.name, job.part, job.label)
    measure_image(item, image)
    if job.pictures:
        item.picture, item.preview = image_picture(image), image_preview(image)
    return item


def _clouds(job: Job, path: Path) -> Iterator[Item]:
    rng = np.random.default_rng(zlib.crc32(job.name.encode("utf-8", "surrogateescape")))
    shapes = read_shapes(path, count=MESH_POINTS, rng=rng, name=job.name)
    for index, (cloud, stored) in enumerate(shapes):
        name = job.name if len(shapes) == 1 else f"{job.name}[{index}]"
        yield cloud_item(name, job, cloud, stored[:, :3], draw=index < job.pictures, rng=rng)


def _h5(job: Job, path: Path) -> Iterator[Item]:
    points, labels, names = read_file(path, finite=False)
    rng = np.random.default_rng(0)
    drawn = set(spread(labels.tolist(), job.pictures))
    for index, (cloud, label, name) in enumerate(zip(points, labels.tolist(), names)):
        told = Job(job.kind, job.path, job.name, job.part, str(label), up=job.up)
        yield cloud_item(name, told, cloud, None, draw=index in drawn, rng=rng)


def cloud_item(
    name: str, job: Job, cloud: np.ndarray, stored: np.ndarray | None, *, draw: bool, rng: np.random.Generator
) -> Item:
    """Return the item of a cloud (N, 3), drawn where wanted; `stored` as in `measure`."""
    item = Item(name, job.part, job.label)
    measure(item, cloud, stored)
    if draw and item.fault in ("", "one-point", "no-extent"):
        item.preview = cloud_preview(upright(cloud, job.up), rng)
        item.picture = cloud_picture(preview_points(item.preview))
    return item


def spread(labels: list[str] | list[int], count: int) -> list[int]:
    """Return `count` indices, or all, that take turns among the labels: the first of each, then the second, …"""
    turn: dict[str | int, int] = {}
    order: list[tuple[int, int]] = []
    for index, label in enumerate(labels):
        order.append((turn.get(label, 0), index))
        turn[label] = turn.get(label, 0) + 1
    return sorted(index for _, index in sorted(order)[:count])


def look_in_child(request: dict[str, Any], _: Progress) -> tuple[Any, bytes]:
    """Return the items of the file that a job names; called in the children of `look_at`."""
    return [asdict(item) for item in look(Job(**request))], b""
