"""Data sets that were checked: a folder of small JSON files, each whole or not there, with config and fingerprint."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..core.data.config import DataConfig
from ..core.data.inspect import Report
from ..core.errors import UserError
from ..worker.quotas import require_count

_ID = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class Entry:
    """What the list shows of a data set. `checked` in seconds since 1970; `problems` are those left open."""

    id: str
    title: str
    config: dict[str, Any]
    fingerprint: str
    modality: str
    inputs: int
    classes: int
    problems: int
    checked: float


class DataSets:
    """The registered data sets of one data folder: `<id>/entry.json`, and `<id>/report.json` with its pictures."""

    def __init__(self, folder: Path, limit: int = 0) -> None:
        """Open the folder; at most `limit` data sets can be registered in it, 0 for any number."""
        self.folder, self.limit = folder, limit

    def require_room(self) -> None:
        """Refuse to register another data set where there are as many as may be. Raises QuotaExceeded."""
        if self.limit:
            require_count(len(self.list()), self.limit, "registered data sets")

    def list(self) -> list[Entry]:
        """Return all entries, the newest first; one that cannot be read is left out."""
        found = [self._entry(path) for path in self.folder.glob("*/entry.json")] if self.folder.is_dir() else []
        return sorted((one for one in found if one is not None), key=lambda one: -one.checked)

    def add(self, config: DataConfig, report: Report, now: float) -> Entry:
        """Register a data set, in the place of one of the same files; return its entry."""
        content = TypeAdapter[DataConfig](DataConfig).dump_python(config, mode="json", exclude_defaults=True)
        content["kind"] = config.kind
        place = _place(content)
        same = next((one for one in self.list() if _place(one.config) == place), None)
        if same is None:
            self.require_room()
        entry = Entry(
            id=same.id if same else uuid.uuid4().hex[:24],
            title=report.title,
            config=content,
            fingerprint=report.fingerprint,
            modality=report.modality,
            inputs=report.usable,
            classes=sum(1 for name in report.counts if name),
            problems=len(report.open_problems),
            checked=now,
        )
        folder = self.folder / entry.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "report.json", report.to_json())
        _write(folder / "entry.json", asdict(entry))
        return entry

    def open(self, one: str) -> tuple[DataConfig, Report]:
        """Return config and report of a registered data set; UserError when it is gone."""
        folder = self._folder(one)
        entry = self._entry(folder / "entry.json")
        try:
            if entry is None:
                raise OSError
            report = Report.from_json(json.loads((folder / "report.json").read_text(encoding="utf-8")))
            return TypeAdapter[DataConfig](DataConfig).validate_python(entry.config), report
        except (OSError, ValueError) as error:
            raise UserError("This data set is not registered any more", remedy="Check it again") from error

    def remove(self, one: str) -> None:
        """Forget a data set; its files stay where they are."""
        shutil.rmtree(self._folder(one), ignore_errors=True)

    def _folder(self, one: str) -> Path:
        if not _ID.fullmatch(one):
            raise UserError("This is no data set's id", got=one[:40])
        return self.folder / one

    def _entry(self, path: Path) -> Entry | None:
        try:
            return TypeAdapter[Entry](Entry).validate_python(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError):
            return None


def _place(config: dict[str, Any]) -> str:
    """Which files a config names, whatever it makes of them."""
    named = {key: value for key, value in config.items() if key not in ("repair", "preparation", "validation")}
    return json.dumps(named, sort_keys=True)


def _write(path: Path, content: dict[str, Any]) -> None:
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
    Path(name).replace(path)
