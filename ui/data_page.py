"""The Data tab: a data set is chosen, checked, mended and handed to the Train tab."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from pydantic import TypeAdapter, ValidationError

from ..core.data.config import DataConfig
from ..core.data.inspect import Report, inspect_untrusted, retried, with_settings
from ..core.data.kinds import data_kind
from ..core.errors import UserError
from ..core.schema import explain
from ..worker import quotas
from ..worker.upload_room import UploadRoom
from . import data_view, pieces
from .access import Access
from .data_sets import DataSets
from .events import PRIVATE, QUIET, UNSEEN
from .uploaded_set import settled
from .viewer import viewer

_ACT = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-mend], [data-look], [data-pick], [data-drop]');
  if (!on) return;
  for (const what of ['mend', 'look', 'pick', 'drop']) if (what in on.dataset) trigger(what, {which: on.dataset[what]});
});
"""
_TO_LOOK = "() => document.querySelector('#look-caption')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"


@dataclass
class Checked:
    """What a visitor looks at: a data set as it would be used now, and what is known of it."""

    config: DataConfig
    report: Report
    id: str


class DataPage:
    """Builds the tab's components on construction; `wire` then connects them."""

    def __init__(self, data_dir: Path, access: Access) -> None:
        self.uploads, self.access = data_dir / "uploads", access
        self._registered = data_dir / "datasets"
        self.checked = gr.State(None)
        # A text, not a State: the script that writes the address reads it in the browser.
        self.selected = gr.Textbox("", visible=False)
        with gr.Row(elem_classes="ps-split"):
            with gr.Column(scale=2, min_width=320) as self.more:  # where other parts of the page add to the tab
                self._choices()
                self.list = pieces.panel("known-data", "", _ACT)
            with gr.Column(scale=3, min_width=320):
                self.head = pieces.panel("data-report", data_view.waiting(), _ACT)
                with gr.Column(visible=False) as self.look:
                    self.caption = pieces.panel("look-caption", "")
                    self.viewer = viewer("data-viewer")
                    self.enlarged = pieces.panel("data-enlarged", "")
                self.inputs = pieces.panel("data-inputs", "", _ACT)
        self.shown: list[Any] = [
            self.checked, self.selected, self.head, self.use, self.look, self.inputs, self.list, self.problem
        ]  # fmt: skip

    @property
    def known(self) -> DataSets:
        """The data sets of the visitor whose event this is."""
        room = self.access.room()
        return DataSets(self._registered / room, quotas.data_sets_per_user() if room else 0)

    def _choices(self) -> None:
        with gr.Group(elem_classes="ps-card"):
            self.source = gr.Radio(
                [("On the server", "path"), ("Upload", "upload"), ("Demo", "demo")],
                value="path",
                label="Data set",
                interactive=True,
                elem_id="data-source",
            )
            with gr.Column(elem_classes="ps-sub") as self.by_path:
                wide: dict[str, Any] = {"max_lines": 1, "interactive": True}
                self.path = gr.Textbox(
                    label="Folder or file",
                    info="A folder or zip with a folder for each class, an .h5 file, or a list (.csv) of file,label",
                    elem_id="data-path",
                    **wide,
                )
                self.test = gr.Textbox(
                    label="Test file",
                    info="Only beside an .h5 file or a list of images",
                    placeholder="none",
                    elem_id="data-test",
                    **wide,
                )
            with gr.Column(elem_classes="ps-sub", visible=False) as self.by_upload:
                self.files = gr.File(
                    label="Files",
                    file_count="multiple",
                    elem_id="data-files",
                    height=170,
                    interactive=True,
                )
                about = "A zip with a folder for each class, .h5 files, or files with a list (.csv) of file,label"
                gr.HTML(f'<p class="ps-about">{about}</p>', apply_default_css=False)
        self.check = gr.Button("Check", variant="primary", elem_id="check-data", size="lg")
        self.problem = pieces.panel("data-problem", "")
        self.use = gr.Button("Train on this data set", visible=False, elem_id="use-data", size="lg")

    def _config(self, source: str, path: str, test: str, files: list[str] | None) -> DataConfig:
        """Return the data set that was chosen; uploads move to where a run will find them. UserError."""
        if source == "demo":
            content: dict[str, Any] = {"kind": "demo"}
        elif source == "upload":
            if not files:
                raise UserError("No file was dropped yet", remedy="Drop a zip or files, or choose another source")
            self.known.require_room()
            paths = [Path(file) for file in files]
            size = sum(path.stat().st_size for path in paths)
            with UploadRoom(self.uploads).admit(size, self.access.room(), self.access.owner() or "") as folder:
                content = settled(paths, folder)
        else:
            for place in filter(None, (path.strip(), test.strip())):
                self.access.check_place(Path(place))
            content = _of_path(path, test)
        try:
            config = TypeAdapter[DataConfig](DataConfig).validate_python(content)
        except ValidationError as error:
            raise explain(error, "The data") from error
        self.access.check_data(config)
        return config

    def run(self, source: str, path: str, test: str, files: list[str] | None) -> Generator[list[Any], None, None]:
        """Check what was chosen: tell how far it is, then show and register the report."""
        try:
            config = self._config(source, path or "", test or "", files)
            checking = inspect_untrusted(config)
            told = 0.0
            while True:
                try:
                    step = next(checking)
                except StopIteration as end:
                    report: Report = end.value
                    break
                if time.monotonic() - told > 0.3 or step[2] <= 1:
                    told = time.monotonic()
                    yield self._only(problem=data_view.progress(*step))
            entry = self.known.add(config, report, time.time())
        except UserError as error:
            yield self._only(problem=pieces.notice("error", [str(error)]))
            return
        yield self._report(Checked(config, report, entry.id))

    def _only(self, **changed: Any) -> list[Any]:
        names = ("checked", "selected", "head", "use", "look", "inputs", "list", "problem")
        return [changed.get(name, gr.skip()) for name in names]

    def _report(self, checked: Checked) -> list[Any]:
        report = checked.report
        return [
            checked,
            checked.id,
            data_view.head(report),
            gr.update(visible=not report.trial.refused),
            gr.update(visible=False),
            data_view.inputs(report),
            self._listed(),
            "",
        ]

    def _listed(self) -> str:
        return data_view.registered(self.known.list(), time.time())

    def mend(self, checked: Checked | None, event: gr.EventData) -> Generator[list[Any], None, None]:
        """Set what mends a problem, and load the data set again."""
        if checked is None:
            yield self._only(problem=pieces.notice("error", ["Check the data set again first."]))
            return
        number = int(event.which)  # type: ignore[attr-defined]
        remedy = checked.report.problems[number].remedy if number < len(checked.report.problems) else None
        if remedy is None:
            return
        yield self._only(problem=data_view.progress("loading it as a run would", 0, 1))
        config = with_settings(checked.config, remedy.settings)
        report = retried(checked.report, config)
        entry = self.known.add(config, report, time.time())
        yield self._report(Checked(config, report, entry.id))

    def closer(self, checked: Checked | None, event: gr.EventData) -> list[Any]:
        """Return updates of the closer look: its column, caption, viewer and image."""
        number = int(event.which)  # type: ignore[attr-defined]
        if checked is None or number >= len(checked.report.pictures):
            return [gr.skip()] * 4
        item = checked.report.pictures[number]
        preview = item.preview or {}
        cloud = {**preview, "patches": None} if "points" in preview else None
        return [
            gr.update(visible=True),
            data_view.caption(item.name, item.label, item.part),
            gr.update(value=cloud, visible=cloud is not None),
            data_view.enlarged(preview.get("image", ""), item.name),
        ]

    def pick(self, one: str) -> list[Any]:
        """Show a registered data set; an empty id shows the list alone."""
        if not one:
            return self._only(list=self._listed())
        try:
            config, report = self.known.open(one)
        except UserError as error:
            return self._only(problem=pieces.notice("error", [str(error)]), list=self._listed())
        return self._report(Checked(config, report, one))

    def _picked(self, event: gr.EventData) -> list[Any]:
        return self.pick(str(event.which))  # type: ignore[attr-defined]

    def drop(self, event: gr.EventData) -> list[Any]:
        """Forget a registered data set."""
        self.known.remove(str(event.which))  # type: ignore[attr-defined]
        return self._only(list=self._listed())

    def wire(self) -> None:
        """Connect what happens inside this tab."""
        slow: dict[str, Any] = {
            "concurrency_id": "inspect",
            "concurrency_limit": 2,
            **UNSEEN,
            **PRIVATE,
        }
        self.source.change(
            lambda one: [gr.update(visible=one == "path"), gr.update(visible=one == "upload")],
            self.source,
            [self.by_path, self.by_upload],
            **QUIET,
        )
        given = [self.source, self.path, self.test, self.files]
        checks = [self.check.click, self.path.submit]
        self.added = gr.on(checks, self.run, given, self.shown, trigger_mode="once", **slow)
        self.head.mend(self.mend, self.checked, self.shown, trigger_mode="once", **slow)  # type: ignore[attr-defined]
        closer = [self.look, self.caption, self.viewer, self.enlarged]
        self.inputs.look(self.closer, self.checked, closer, **QUIET).then(  # type: ignore[attr-defined]
            None, None, None, js=_TO_LOOK, **PRIVATE
        )
        self.list.pick(self._picked, None, self.shown, **QUIET)  # type: ignore[attr-defined]
        self.list.drop(self.drop, None, self.shown, **QUIET)  # type: ignore[attr-defined]


def _of_path(path: str, test: str) -> dict[str, Any]:
    if not path.strip():
        raise UserError("No folder or file was named", remedy="Write where the data set lies on this server")
    place = Path(path.strip()).expanduser()
    if not place.exists():
        raise UserError("The data set does not exist", got=path.strip(), remedy="Check the path")
    kind = data_kind(place)
    if kind is None:
        raise UserError(
            "This file is no data set",
            got=path.strip(),
            expected="a folder, a .zip, an .h5 file or a list of files (.csv, for images .txt too)",
        )
    content: dict[str, Any] = {"kind": kind, "train" if kind == "h5" else "path": str(place.absolute())}
    if test.strip():
        if kind == "folder":
            raise UserError("A test file belongs to an .h5 file or a list of images", got=test.strip())
        content["test"] = str(Path(test.strip()).expanduser().absolute())
    return content
