"""What is wrong with a data set, the worst first, each with its names and, if there is one, the setting to mend it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from .clouds import Preparation
from .config import DataConfig, FolderData, H5Data, ImagesData
from .facts import Fault, Item, groups_of_copies, up_axis
from .trial import Trial

Level = Literal["error", "warning", "info"]
_NAMED = 200
_LEVELS = ("error", "warning", "info")


@dataclass(frozen=True)
class Remedy:
    """A button: what it says, and which settings of the data it sets, as in {"repair.copies": "across"}."""

    label: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. An error keeps a run from starting, or its numbers from meaning anything."""

    code: str
    level: Level
    title: str
    detail: str = ""
    names: list[str] = field(default_factory=list[str])
    more: int = 0
    remedy: Remedy | None = None
    mended: bool = False

    @classmethod
    def refused(cls, reason: str) -> Problem:
        return cls("refused", "error", "A run could not start on this", reason)

    def is_mended(self, config: DataConfig) -> bool:
        """Return whether the settings of its remedy are set."""
        if self.remedy is None:
            return False
        for key, wanted in self.remedy.settings.items():
            place: Any = config
            for step in key.split("."):
                place = getattr(place, step)
            if place != wanted and (key, place) != ("repair.copies", "all"):
                return False
        return True


def whose_label(tried: Trial, items: list[Item]) -> Callable[[str], str]:
    """Return how labels become class names: numbers, as HDF5 files have them, by the order of the classes."""
    if not tried.classes or {item.label for item in items} <= set(tried.classes):
        return lambda label: label
    names = {str(number): name for number, name in enumerate(tried.classes)}
    return lambda label: names.get(label, label)


def find_problems(
    config: DataConfig, items: list[Item], tried: Trial, complaint: str, strangers: list[str]
) -> list[Problem]:
    """Return all problems of a set, those first that weigh most; with the settings of `config` some may be mended."""
    found: list[Problem] = []
    if tried.refused or complaint:
        resplit = "classes of train" in complaint
        found.append(
            Problem(
                "refused",
                "error",
                "A run could not start on this",
                complaint or tried.refused,
                remedy=Remedy("Put the parts together and split anew", {"repair.resplit": 0.2}) if resplit else None,
            )
        )
    found += _faults(config, items)
    sound = [item for item in items if not item.fault]
    found += _copies(config, sound)
    found += _classes(sound)
    if isinstance(config.preparation, Preparation):
        found += _clouds(config.preparation, sound)
    else:
        found += _images(sound)
    loose = [item.name for item in items if not item.label] if any(item.label for item in items) else []
    if loose:
        title = f"{_files(len(loose))} in no class folder"
        found.append(Problem("loose", "warning", title, "A run leaves them out.", loose[:_NAMED], _more(loose)))
    if strangers:
        title = f"{_files(len(strangers))} of no known kind: not looked at"
        found.append(Problem("strangers", "info", title, names=strangers[:_NAMED], more=_more(strangers)))
    mended = [replace(one, mended=one.is_mended(config)) for one in found]
    return sorted(mended, key=lambda one: _LEVELS.index(one.level))


def _files(count: int, noun: str = "file") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _more(names: list[str]) -> int:
    return max(0, len(names) - _NAMED)


def _faults(config: DataConfig, items: list[Item]) -> list[Problem]:
    """Inputs that cannot be learnt from. A run skips files like this, but refuses an HDF5 file as a whole."""
    found: list[Problem] = []
    whole = isinstance(config, H5Data)
    skipped = "A run skips them." if not whole else "A run refuses the whole file for them."
    drop = Remedy("Leave them out", {"repair.drop_bad": True})
    noun = "image" if isinstance(config, ImagesData) else "cloud"
    kinds: list[tuple[Fault, str, str]] = [
        ("unreadable", "cannot be read", "A run skips them."),
        ("empty", "hold nothing", "A run skips them."),
        ("not-finite", "have NaN or infinite coordinates", skipped),
        ("one-point", "hold a single point", "To a model they are all the same."),
        ("no-extent", "have all their points in one place", "To a model they are all the same."),
    ]
    for fault, says, then in kinds:
        hit = [item for item in items if item.fault == fault]
        if not hit:
            continue
        if noun == "image" and fault == "no-extent":
            says, then = "are of one colour throughout", "There is nothing in them to learn from."
        names = [f"{item.name}: {_short(item)}" for item in hit]
        mendable = isinstance(config, (FolderData, H5Data)) and (
            fault in ("one-point", "no-extent") or (fault == "not-finite" and whole)
        )
        level: Level = "error" if whole and fault in ("not-finite", "unreadable", "empty") else "warning"
        title = f"{_files(len(hit), 'file' if fault in ('unreadable', 'empty') else noun)} {says}"
        title = (
            title
            if len(hit) > 1
            else title.replace(" hold ", " holds ").replace(" have ", " has ").replace(" their ", " its ")
        )
        remedy = drop if mendable else None
        found.append(Problem(fault, level, title, then, names[:_NAMED], _more(names), remedy))
    return found


def _short(item: Item) -> str:
    """The reason without the file's own name, which stands before it."""
    return item.reason.removeprefix(f"{item.name} ").removeprefix("cannot be read: ").rstrip(".")


def _copies(config: DataConfig, sound: list[Item]) -> list[Problem]:
    groups = groups_of_copies([_form(item) for item in sound])
    across = [group for group in groups if len({sound[i].part for i in group}) > 1]
    within = [group for group in groups if len({sound[i].part for i in group}) == 1]
    torn = [group for group in groups if len({sound[i].label for i in group}) > 1]
    found: list[Problem] = []
    mendable = isinstance(config, (FolderData, H5Data, ImagesData))

    def problem(code: str, level: Level, title: str, detail: str, which: list[list[int]], how: str | None) -> None:
        names = [" = ".join(_where(sound[i]) for i in group) for group in which]
        label = "Leave out the training copies" if how == "across" else "Keep one of each"
        remedy = Remedy(label, {"repair.copies": how}) if how and mendable else None
        found.append(Problem(code, level, title, detail, names[:_NAMED], _more(names), remedy))

    if across:
        lost = sum(len(group) for group in across)
        detail = f"{lost} inputs. The test would ask for what was learnt by heart: its accuracy would be too high."
        title = f"{_files(len(across), 'object')} in more than one part"
        problem("leak", "error", title, detail, across, "across")
    if within:
        spare = sum(len(group) - 1 for group in within)
        alone = {item.part for item in sound} <= {"train", ""}
        detail = f"{_files(spare, 'input')} too many" + (
            ": when a test part is held out, copies may fall on both sides." if alone else "."
        )
        level: Level = "warning" if alone else "info"
        problem("copies", level, f"{_files(len(within), 'object')} more than once in a part", detail, within, "all")
    if torn:
        detail = "At least one of the labels is wrong."
        problem("torn", "warning", f"{_files(len(torn), 'object')} with more than one label", detail, torn, None)
    return found


def _where(item: Item) -> str:
    return item.name if item.part in ("", "train") or item.name.startswith(item.part) else f"{item.name} ({item.part})"


def _form(item: Item) -> np.ndarray | str | None:
    if not item.copy:
        return None
    return item.copy if item.width else np.frombuffer(base64.b64decode(item.copy), dtype=np.float32)


def _classes(sound: list[Item]) -> list[Problem]:
    found: list[Problem] = []
    counts = Counter(item.label for item in sound if item.part in ("", "train") and item.label)
    if len(counts) > 1:
        (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
        if high >= 5 * low:
            level: Level = "warning" if high >= 10 * low else "info"
            title = f"The classes are of unequal size: {most} {high}, {least} {low}"
            found.append(Problem("imbalance", level, title, "Judge by the mean over classes, not by accuracy alone."))
        few = sorted((count, name) for name, count in counts.items() if count < 5)
        if few:
            names = [f"{name}: {count}" for count, name in few]
            title = f"{_files(len(few), 'class').replace('classs', 'classes')} with fewer than 5 training inputs"
            found.append(Problem("few", "warning", title, names=names[:_NAMED], more=_more(names)))
    alike: dict[str, set[str]] = {}
    for name in {item.label for item in sound if item.label}:
        alike.setdefault("".join(name.lower().split()).replace("_", "").replace("-", ""), set()).add(name)
    same = [" = ".join(sorted(names)) for names in alike.values() if len(names) > 1]
    if same:
        found.append(Problem("alike", "warning", "Classes whose names differ in spelling only", names=sorted(same)))
    return found


def _clouds(preparation: Preparation, sound: list[Item]) -> list[Problem]:
    found: list[Problem] = []
    if not sound:
        return found
    up = up_axis([item.stands for item in sound])
    if up.axis not in ("unsure", preparation.up):
        title = f"The clouds seem to stand with {up.axis} up, not {preparation.up}"
        detail = f"{up.why}. Pre-trained backbones and the rotation of training take y for up."
        remedy = Remedy(f"Turn {up.axis} up", {"preparation.up": up.axis})
        found.append(Problem("up", "warning", title, detail, remedy=remedy))
    elif preparation.up != "y":
        found.append(Problem("up", "info", f"The clouds are turned so that {preparation.up} is up", up.why))
    radii = [item.radius for item in sound if item.radius > 0]
    far = sum(_off_centre(item) for item in sound)
    if preparation.normalize == "none" and radii and (max(radii) > 3 * min(radii) or max(radii) > 3 or far):
        title = f"Sizes from {min(radii):.3g} to {max(radii):.3g}, and the clouds are used as they are"
        detail = "Backbones are pre-trained on clouds that are centred and of radius 1." + (
            f" {far} clouds lie beside the origin." if far else ""
        )
        remedy = Remedy("Centre and rescale each", {"preparation.normalize": "unit-sphere"})
        found.append(Problem("scale", "warning", title, detail, remedy=remedy))
    elif radii and max(radii) > 100 * min(radii):
        title = f"Sizes from {min(radii):.3g} to {max(radii):.3g}"
        found.append(Problem("scale", "info", title, "Each cloud is centred and rescaled, so this does no harm."))
    repeated = [item for item in sound if item.repeated > 0.1]
    if repeated:
        names = [f"{item.name}: {100 * item.repeated:.0f} %" for item in sorted(repeated, key=lambda i: -i.repeated)]
        title = f"{_files(len(repeated), 'cloud')} with more than 10 % of the points doubled"
        found.append(Problem("repeated", "info", title, names=names[:_NAMED], more=_more(names)))
    thin = [item for item in sound if item.points < preparation.points]
    if thin:
        names = [f"{item.name}: {item.points}" for item in sorted(thin, key=lambda i: i.points)]
        title = f"{_files(len(thin), 'cloud')} with fewer than {preparation.points} points"
        found.append(Problem("thin", "info", title, "Some of their points come twice.", names[:_NAMED], _more(names)))
    return found


def _off_centre(item: Item) -> bool:
    return any(abs(h + low) / 2 > max(item.radius, 1e-12) for h, low in zip(item.high, item.low))


def _images(sound: list[Item]) -> list[Problem]:
    found: list[Problem] = []
    grey = sum(item.grey for item in sound)
    if 0 < grey < len(sound):
        share = {item.label: 0 for item in sound}
        for item in sound:
            share[item.label] += item.grey
        told = ", ".join(f"{name} {count}" for name, count in sorted(share.items()) if count)
        title = f"{grey} of {len(sound)} images are grey, the others coloured"
        found.append(Problem("grey", "info", title, f"By class: {told}" if len(share) < 30 else ""))
    small = [item for item in sound if min(item.width, item.height) < 32]
    if small:
        names = [f"{item.name}: {item.width} × {item.height}" for item in small]
        title = f"{_files(len(small), 'image')} smaller than 32 pixels"
        found.append(Problem("small", "info", title, names=names[:_NAMED], more=_more(names)))
    return found
