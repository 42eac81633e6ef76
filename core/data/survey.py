"""Looks at every input of a data set, sound or not; files are opened in children, of which one may die for its file."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from os import cpu_count
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..errors import UserError
from .class_folders import FileKind, Layout, Left, check_classes, lay_out, merged, opened, walk
from .clouds import Clouds
from .config import DataConfig, FolderData, H5Data, ImagesData
from .facts import Item, measure_image
from .folder import KIND, laid_out, name_of
from .images import Images, read_list
from .load import read
from .picture import IMAGE_EXTENSIONS
from .root import listed_file
from .sandbox.protocol import Limits, Sandbox
from .surveyor import Job, cloud_item, spread
from .thumbnail import image_picture, image_preview

PICTURES = 60
"""The most inputs that are drawn."""
_IMAGE = FileKind(IMAGE_EXTENSIONS, "image")
_MOST_CHILDREN = 4
LIMITS = Limits(answer_bytes=256 << 20)
"""What a child may use for one file."""


@dataclass
class Found:
    """What the place holds before any file is opened: jobs, files that nothing reads, and why it is unsound."""

    jobs: list[Job] = field(default_factory=list[Job])
    strangers: list[str] = field(default_factory=list[str])
    complaint: UserError | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Looked:
    """How far a survey is: so many of `total` files."""

    done: int
    total: int


@contextmanager
def found_in(config: FolderData | H5Data | ImagesData) -> Generator[Found, None, None]:
    """Yield what there is to look at; what a zip holds is unpacked meanwhile. UserError where there is nothing."""
    if isinstance(config, H5Data):
        given = {"train": config.train, "test": config.test}
        files = {part: path.expanduser() for part, path in given.items() if path is not None}
        up = config.preparation.up
        yield Found(
            [
                Job("h5", str(path), path.name, part, pictures=PICTURES // len(files), up=up)
                for part, path in files.items()
            ]
        )
    elif isinstance(config, FolderData):
        path = config.path.expanduser()
        with laid_out(path, Left()) as (root, layout):
            whole = merged(layout) if config.repair.resplit is not None else layout
            listed = path.is_file() and path.suffix.lower() == ".csv"
            found = _of_layout(root, layout, whole, config.path.name, KIND, alone=listed)
            found.jobs = [replace(job, up=config.preparation.up) for job in found.jobs]
            yield found
    else:
        path = config.path.expanduser()
        if path.is_file() and path.suffix.lower() in (".csv", ".txt"):
            yield _of_lists({"train": path, "test": config.test})
        else:
            with opened(path) as top:
                root, layout = lay_out(top, _IMAGE, Left())
                yield _of_layout(root, layout, layout, config.path.name, _IMAGE)


def _of_layout(root: Path, layout: Layout, judged: Layout, name: str, kind: FileKind, alone: bool = False) -> Found:
    found = Found()
    try:
        found.classes = check_classes(judged, name, kind)
    except UserError as error:
        found.complaint = error
    listed = [
        (part, label, file) for part, folders in layout.items() for label, files in folders.items() for file in files
    ]
    if not alone:  # what lies in no class folder is looked at all the same
        taken = {file for _, _, file in listed}
        listed += [("", "", file) for file in walk(root, kind.takes) if file not in taken]
    drawn = set(spread([label for _, label, _ in listed], PICTURES))
    job = "image" if kind is _IMAGE else "cloud"
    found.jobs = [
        Job(job, str(file.resolve()), name_of(file, root), part, label, pictures=int(i in drawn))
        for i, (part, label, file) in enumerate(listed)
    ]
    if not alone:  # a list names its files; whatever else lies there does not matter
        taken = {file for _, _, file in listed}
        found.strangers = [name_of(file, root) for file in walk(root, lambda name: True) if file not in taken]
    return found


def _of_lists(paths: dict[str, Path | None]) -> Found:
    listed = [
        (part, label, listed_file(path.expanduser().parent, file, path.name), file)
        for part, path in paths.items()
        if path is not None
        for file, label in read_list(path.expanduser())
    ]
    drawn = set(spread([label for _, label, _, _ in listed], PICTURES))
    jobs = [
        Job("image", str(file.absolute()), name, part, label, pictures=int(i in drawn))
        for i, (part, label, file, name) in enumerate(listed)
    ]
    return Found(jobs)


def look_at(jobs: list[Job], limits: Limits = LIMITS) -> Generator[Looked, None, list[Item]]:
    """Look at files in up to four children; return their items in the order of the jobs."""
    waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
    for i, job in enumerate(jobs):
        waiting.put((i, job))
    answers: queue.SimpleQueue[tuple[int, list[Item]]] = queue.SimpleQueue()
    children = [
        Sandbox(f"{__package__}.surveyor:look_in_child", limits)
        for _ in range(min(_MOST_CHILDREN, cpu_count() or 1, len(jobs)))
    ]
    workers = [threading.Thread(target=_work, args=(child, waiting, answers), daemon=True) for child in children]
    items: dict[int, list[Item]] = {}
    try:
        for worker in workers:
            worker.start()
        while len(items) < len(jobs):
            index, found = answers.get()
            items[index] = found
            yield Looked(len(items), len(jobs))
    finally:
        for child in children:
            child.close()
    return [item for index in sorted(items) for item in items[index]]


def _work(
    child: Sandbox,
    waiting: queue.SimpleQueue[tuple[int, Job]],
    answers: queue.SimpleQueue[tuple[int, list[Item]]],
) -> None:
    while True:
        try:
            index, job = waiting.get_nowait()
        except queue.Empty:
            return
        answers.put((index, _items(child, job)))


def _items(child: Sandbox, job: Job) -> list[Item]:
    """Return the items of one file; for one that ended the child, the item that says so."""
    try:
        answer, _ = child.ask(asdict(job), name=job.name)
        return TypeAdapter(list[Item]).validate_python(answer)
    except UserError as error:
        reason = error.what
    except ValidationError:
        reason = f"{job.name} could not be read: its reader answered in a wrong form"
    return [Item(job.name, job.part, job.label, fault="unreadable", reason=reason)]


def look_through(config: DataConfig) -> tuple[list[Item], tuple[str, ...]]:
    """Return (items, classes) of a set as its own reader gives it: made by the generator, or a benchmark. UserError."""
    parts = read(config)
    items: list[Item] = []
    rng = np.random.default_rng(0)
    for part, split in (("train", parts.train), ("validation", parts.validation), ("test", parts.test)):
        if split is None:
            continue
        numbers: list[int] = split.labels.tolist()
        labels = [parts.classes[number] for number in numbers]
        drawn = set(spread(labels, PICTURES if part == "train" else PICTURES // 4))
        for i, (name, label) in enumerate(zip(split.names, labels)):
            if isinstance(split, Clouds):
                job = Job("cloud", "", name, part, label)
                items.append(cloud_item(name, job, split.points[i], None, draw=i in drawn, rng=rng))
            elif isinstance(split, Images):
                items.append(_square(split, i, name, part, label, draw=i in drawn))
    return items, parts.classes


def _square(split: Images, i: int, name: str, part: str, label: str, *, draw: bool) -> Item:
    from PIL import Image

    image = Image.fromarray(split.square(i))
    item = Item(name, part, label)
    measure_image(item, image)
    if draw:
        item.picture, item.preview = image_picture(image), image_preview(image)
    return item
