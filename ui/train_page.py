"""The Train tab: a short path from data to review, and the start. Its form is made from the config classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ..core.bounded_text import read_json
from ..core.config import RunConfig, choices, parse_config
from ..core.errors import UserError
from ..core.recipes import recipe, recipes
from ..core.reread import reread
from ..core.training.aims import aims, differences, published
from ..worker.own_runs import OwnRuns
from ..worker.run import Run
from ..worker.store import RunStore
from ..worker.upload_room import UploadRoom
from . import pieces
from .command import command_line
from .events import PRIVATE, QUIET, UNSEEN
from .form import PARTS, Form, Setting, from_config, to_content
from .measured import measured
from .path_bar import GO, path, step_of
from .review import amounts, check_files, sizes, warnings, weights_told, workers_told

_TOLD = 6
"""So many changes of settings are told in full."""
_FIRST = "demo"
"""The recipe that the form starts with: three clicks make a good run."""
_LEGENDS = {"data": "Data", "backbone": "Backbone", "method": "Method"}
_DATA_TITLES = {
    "demo": "Demo objects",
    "folder": "Folder or zip",
    "h5": "HDF5",
    "scanobjectnn": "ScanObjectNN",
    "modelnet40": "ModelNet40",
    "hub": "Hub data set",
    "fewshot": "Few-shot",
    "parts": "Labelled points",
    "shapenetpart": "ShapeNetPart",
    "images": "Images",
    "vtab": "VTAB-1k",
}
_UPLOADS = {
    "folder": ("a zip", ".zip", "path"),
    "h5": ("an HDF5 file", ".h5", "train"),
    "parts": ("a zip", ".zip", "path"),
    "images": ("a zip", ".zip", "path"),
}
"""What can be uploaded for a kind of data: (words, ending, the setting that it fills)."""
_BASIC_OF_KIND = {
    "data.demo.train_per_class",
    "data.demo.test_per_class",
    "data.folder.path",
    "data.folder.test_share",
    "data.h5.train",
    "data.h5.test",
    "data.h5.classes",
    "data.scanobjectnn.variant",
    "data.scanobjectnn.source",
    "data.scanobjectnn.path",
    "data.modelnet40.path",
    "data.hub.repository",
    "data.hub.train",
    "data.hub.test",
    "data.fewshot.way",
    "data.fewshot.shot",
    "data.fewshot.fold",
    "data.fewshot.path",
    "data.fewshot.base",
    "data.parts.path",
    "data.parts.test_share",
    "data.shapenetpart.path",
    "data.shapenetpart.lists",
    "data.images.path",
    "data.images.test",
    "data.images.test_share",
    "data.vtab.path",
    "data.vtab.task",
    "data.vtab.tune",
    "backbone.own.weights",
}
_AIM = """
element.addEventListener('click', (event) => {
  const on = event.target.closest('[data-aim]');
  if (on) trigger('aim', {key: on.dataset.aim});
});
"""
_GROUPS = (("", "Run"), ("optim", "Optimiser"), ("augment", "Augmentation"), ("head", "Head"))


def title(part: str, kind: str) -> str:
    """Return a kind's name for people."""
    return _DATA_TITLES.get(kind, kind) if part == "data" else getattr(choices(part)[kind], "title", kind)  # type: ignore[arg-type]


def about(part: str, kind: str) -> str:
    """Return one sentence about a kind: what its class says of itself."""
    text = (choices(part)[kind].__doc__ or "").split("\n\n")[0]  # type: ignore[arg-type]
    return " ".join(text.split()).replace("`", "")


class TrainPage:
    """Builds the tab's components on construction; `wire` then connects them."""

    def __init__(
        self,
        store: RunStore | OwnRuns,
        uploads: Path,
        check: Callable[[RunConfig], None] = lambda _: None,
        room: Callable[[], str] = lambda: "",
        user: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.store, self.uploads = store, uploads
        self.room, self.user = room, lambda: user() or ""  # whose an upload is
        self.check = check  # what this page's rules say of the files that a run names
        self.first = recipe(_FIRST).config()
        self.form = Form(self.first)
        self.kinds: dict[str, gr.components.Component] = {}
        self.sections: dict[str, list[tuple[str, gr.Column]]] = {part: [] for part in PARTS}
        self.abouts: dict[str, gr.HTML] = {}
        self.path = pieces.panel("path", path({}), GO)
        with gr.Row(elem_classes="ps-split"):
            with gr.Column(scale=3, min_width=320):
                self._recipe()
                for number, part in enumerate(PARTS, start=1):
                    self._part(number, part)
                self._basic()
                self._advanced()
            with gr.Column(scale=2, min_width=320, elem_classes="ps-side"):
                self._review()
        left = [key for key in self.form.settings if key not in self.form.components]
        assert not left, f"settings without a place on the page: {left}"
        self.keys = list(self.form.components)
        self.inputs = [*(self.kinds[part] for part in PARTS), *self.form.components.values()]

    def _recipe(self) -> None:
        found = recipes()
        with gr.Group(elem_classes="ps-card", elem_id="start-from"):
            with gr.Row(elem_classes="ps-start-from"):
                self.recipe = gr.Dropdown(
                    list(found),
                    value=_FIRST,
                    label="Start from a recipe",
                    info="Fills the whole form; change anything afterwards.",
                    filterable=True,
                    interactive=True,
                    min_width=220,
                    elem_id="recipe",
                )
                with gr.Column(min_width=220, elem_classes="ps-drop"):
                    pieces.panel("about-dropped", _DROP)
                    self.dropped = gr.File(
                        label="A file of settings",
                        show_label=False,
                        file_types=[".yaml", ".yml", ".json", ".md"],
                        file_count="single",
                        height=44,
                        elem_id="dropped",
                    )
            self.summary = pieces.panel("about-recipe", _summary(_FIRST))

    def _part(self, number: int, part: str) -> None:
        chosen = getattr(self.first, part).kind
        with gr.Group(elem_classes="ps-card", elem_id=f"step-{part}"):
            self.kinds[part] = gr.Radio(
                [(title(part, kind), kind) for kind in choices(part)],  # type: ignore[arg-type]
                value=chosen,
                label=f"{number} · {_LEGENDS[part]}",
                interactive=True,
                elem_id=f"kind-{part}",
            )
            self.abouts[part] = pieces.panel(f"about-{part}", _about_html(part, chosen))
            for kind in choices(part):  # type: ignore[arg-type]
                basic = [
                    key for key in self.form.settings if key in _BASIC_OF_KIND and key.startswith(f"{part}.{kind}.")
                ]
                if basic:
                    with gr.Column(visible=kind == chosen, elem_classes="ps-sub") as column:
                        self._keys(*basic)
                        self._upload_button(part, kind)
                    self.sections[part].append((kind, column))

    def _upload_button(self, part: str, kind: str) -> None:
        if part != "data" or kind not in _UPLOADS:
            return
        what, ending, setting = _UPLOADS[kind]
        button = gr.UploadButton(
            f"Upload {what} from this device",
            file_types=[ending],
            file_count="single",
            size="sm",
            elem_id=f"upload-{kind}",
        )
        target = self.form.components[f"data.{kind}.{setting}"]
        button.upload(self._keep_upload, button, target, **PRIVATE, **UNSEEN).then(
            None, None, None, js="() => document.querySelector('#refresh-review').click()", **PRIVATE
        )

    def _fields(self, wanted: Callable[[Setting], bool]) -> int:
        with gr.Row(elem_classes="ps-fields"):
            return self.form.place(wanted)

    def _keys(self, *keys: str) -> None:
        with gr.Row(elem_classes="ps-fields ps-wide"):
            self.form.place_keys(keys)

    def _basic(self) -> None:
        with gr.Group(elem_classes="ps-card", elem_id="step-recipe"):
            gr.HTML("<h2>4 · Recipe</h2>", apply_default_css=False, elem_classes="ps-card-title")
            self.aims = pieces.panel("aims", _aims_html(), _AIM)
            self.aimed = pieces.panel("aimed", "")
            self._keys("epochs", "batch_size", "optim.lr", "seed")
            self._keys("select")

    def _advanced(self) -> None:
        with gr.Accordion("Advanced", open=False, elem_id="advanced", elem_classes="ps-card"):
            for group, legend in _GROUPS:
                self._legend(legend)
                self._fields(lambda one, group=group: not one.part and _group(one) == group)
            for part in ("method", "backbone", "data"):
                for kind in choices(part):  # type: ignore[arg-type]
                    shown = getattr(self.first, part).kind == kind
                    with gr.Column(visible=shown, elem_classes="ps-sub") as column:
                        self._legend(f"{_LEGENDS[part]}: {title(part, kind)}")
                        if not self._fields(lambda one, part=part, kind=kind: (one.part, one.kind) == (part, kind)):
                            gr.HTML('<p class="ps-quiet">Nothing to set.</p>', apply_default_css=False)
                    self.sections[part].append((kind, column))

    def _legend(self, text: str) -> None:
        gr.HTML(f"<h3>{escape(text)}</h3>", apply_default_css=False, elem_classes="ps-legend-title")

    def _review(self) -> None:
        with gr.Group(elem_classes="ps-card ps-review", elem_id="step-review"):
            self.review = pieces.panel("review", "")
            self.measured = pieces.panel("measured", "")
            self.measure = gr.Button("Measure memory and time", size="sm", elem_id="measure")
            self.name = gr.Textbox(label="Name of the run", placeholder="made from method and data", max_lines=1)
            self.start = gr.Button("Start training", variant="primary", elem_id="start", size="lg")
            self.problem = pieces.panel("problem", "")
            self.sweep = gr.Button("Sweep over these settings…", elem_id="to-sweep", size="md")
        self.repeat = pieces.panel("repeat", "", pieces.COPY_CODE)
        self.refresh = gr.Button("Refresh", elem_id="refresh-review", elem_classes="ps-hidden")
        self.refill = gr.Button("Restore", elem_id="restore", elem_classes="ps-hidden")

    def read(self, values: tuple[Any, ...]) -> RunConfig:
        """Return the config that the components describe; UserError names the first setting that does not fit."""
        kinds = dict(zip(PARTS, values[: len(PARTS)]))
        config = parse_config(to_content(kinds, dict(zip(self.keys, values[len(PARTS) :]))), "The form")
        self.check(config)
        return config

    def preview(self, *values: Any) -> list[Any]:
        """Show sizes, warnings, command and YAML of what is in the form, or what does not fit; the browser keeps it."""
        typed = dict(zip((*PARTS, *self.keys), values))
        draft = json.dumps(typed)
        said = {part: title(part, str(typed[part])) for part in PARTS}
        said["recipe"] = f"{typed['epochs']} epochs, learning rate {typed['optim.lr']}"
        try:
            config = self.read(values)
            check_files(config)
            repeat = pieces.code(command_line(config), "Command line") + pieces.code(config.to_yaml(), "YAML")
            shown, trainable = self._review_html(config)
            said["review"] = f"{trainable} parameters to train"
            return [shown, "", repeat, draft, path(said), ""]
        except UserError as error:
            bar = path(said, step_of(error))
            return [_NOTHING_YET, pieces.notice("error", [str(error)]), "", draft, bar, ""]

    def _review_html(self, config: RunConfig) -> tuple[str, str]:
        """Return the review, and the number of trainable parameters for the path."""
        found, classes, guessed = sizes(config)
        about = "≈ " if guessed else ""
        shown = pieces.facts(
            [
                ("Trainable parameters", f"{about}{found.trainable:,}"),
                ("Of all parameters", f"{100 * found.trainable / found.total:.1f} % of {found.total:,}"),
                ("Adapter file", f"{about}{pieces.size(found.adapter_bytes)}"),
                *amounts(config),
            ]
        )
        told = [f"Counted for {classes} classes; the data will tell how many there are."] if guessed else []
        told += weights_told(config)
        said = pieces.notice("info", told) + pieces.notice("warning", [*warnings(config), *workers_told(self.store)])
        return _REVIEW + shown + said, f"{about}{found.trainable:,}"

    def _measure(self, *values: Any) -> Iterator[str]:
        """Say that it is measured, then what was measured. It costs nothing but a process, whatever the page does."""
        yield '<p class="ps-quiet" role="status">Making dry steps in a process of its own …</p>'
        try:
            yield measured(self.read(values))
        except UserError as error:
            yield pieces.notice("error", [str(error)])

    def _switch(self, part: str, kind: str) -> list[Any]:
        """Show the sub-forms of the chosen kind."""
        return [_about_html(part, kind), *(gr.update(visible=one == kind) for one, _ in self.sections[part])]

    def fill(self, config: RunConfig) -> list[Any]:
        """Return the values of all inputs for a config."""
        kinds, shown = from_config(config)
        return [*(kinds[part] for part in PARTS), *(shown[key] for key in self.keys)]

    def _load_recipe(self, name: str) -> list[Any]:
        try:
            return [_summary(name), *self.fill(recipe(name).config())]
        except UserError as error:
            raise gr.Error(str(error), title="Recipe", print_exception=False) from error

    def _load_dropped(self, name: str | None) -> list[Any]:
        """Fill the form from a dropped file and let go of the file; where it is no run, say what it is."""
        if name is None:
            return [gr.skip()] * (len(self.inputs) + 2)
        try:
            config = reread(Path(name))
        except UserError as error:  # said in place: an error of the event would mark every field of the form
            return [pieces.notice("error", [str(error)]), None, *[gr.skip()] * len(self.inputs)]
        told = f"Filled from {Path(name).name}. Files that it names may lie elsewhere on this machine."
        return [f'<p class="ps-about">{escape(told)}</p>', None, *self.fill(config)]

    def _aim(self, event: gr.EventData, *values: Any) -> list[Any]:
        """Change how the chosen method learns, and say what was changed; the data stay as they are."""
        typed = dict(zip((*PARTS, *self.keys), values))
        content = to_content({part: typed[part] for part in PARTS}, typed)
        try:
            before = parse_config(content, "The form")
        except UserError:
            # The data may not be named yet; the other settings can be filled all the same.
            images = getattr(choices("backbone").get(typed["backbone"]), "modality", "points") == "images"
            content["data"] = {"kind": "images", "path": "images"} if images else {"kind": "demo"}
            try:
                before = parse_config(content, "The form")
            except UserError as error:
                return [pieces.notice("error", [str(error)]), *[gr.skip()] * len(self.inputs)]
        try:
            after = aims()[str(event.key)].apply(before)  # type: ignore[attr-defined]
        except UserError as error:
            return [pieces.notice("error", [str(error)]), *[gr.skip()] * len(self.inputs)]
        filled = self.fill(after)
        of_data = {0, *(len(PARTS) + at for at, key in enumerate(self.keys) if key.startswith("data."))}
        aim = aims()[str(event.key)]  # type: ignore[attr-defined]
        source = published(before) if aim.key == "paper" else None
        told = _changes_html(f"{aim.title} ({source.name})" if source else aim.title, differences(before, after))
        return [told, *(gr.skip() if at in of_data else value for at, value in enumerate(filled))]

    def open(self, draft: str | None) -> list[Any]:
        """Return what `preview` shows of the form as it is drawn; nothing where `restore` is going to fill it."""
        if draft:
            return [gr.skip()] * len(self.previewed)
        return self.preview(*(one.value for one in self.inputs))  # type: ignore[attr-defined]

    def restore(self, draft: str | None) -> list[Any]:
        """Return the input values that this browser last had, where they still fit the form, and their preview."""
        try:
            values = read_json(draft, name="The form") if draft else None
        except UserError:
            values = None
        fits = isinstance(values, dict) and set(values) == {*PARTS, *self.keys}
        if not fits or any(values[part] not in choices(part) for part in PARTS):
            return [*[gr.skip()] * len(self.inputs), *self.open(None)]
        kept = [values[key] for key in (*PARTS, *self.keys)]
        return [*kept, *self.preview(*kept)]

    def _keep_upload(self, upload: str) -> str:
        """Move an upload out of the page's cache, so that the run still finds it tomorrow; return its path."""
        source = Path(upload)
        try:
            with UploadRoom(self.uploads).admit(source.stat().st_size, self.room(), self.user()) as folder:
                folder.mkdir(mode=0o700)
                shutil.move(source, folder / source.name)
        except UserError as error:
            raise gr.Error(str(error), title="Train", print_exception=False) from error
        return str(folder / source.name)

    def submit(self, name: str, *values: Any) -> Run:
        """Queue the run that the form describes."""
        config = self.read(values)
        check_files(config)
        return self.store.create(config, name=name.strip()[:120] or None)

    def wire(self, draft: gr.BrowserState) -> None:
        """Connect what happens inside this tab; starting is connected by the page, which knows the other tabs."""
        self.previewed = [self.review, self.problem, self.repeat, draft, self.path, self.measured]
        for part in PARTS:
            columns = [column for _, column in self.sections[part]]
            self.kinds[part].change(  # type: ignore[attr-defined]
                lambda kind, part=part: self._switch(part, kind),
                self.kinds[part],
                [self.abouts[part], *columns],
                **QUIET,
            )
        # A text's `input` event misses what is pasted or deleted, its `change` does not.
        typed = [one.change if isinstance(one, gr.Textbox) else one.input for one in self.inputs]  # type: ignore[attr-defined]
        gr.on(
            [*typed, self.refresh.click], self.preview, self.inputs, self.previewed, trigger_mode="always_last", **QUIET
        )
        self.measure.click(
            self._measure,
            self.inputs,
            self.measured,
            **UNSEEN,
            **PRIVATE,
            trigger_mode="once",
            concurrency_id="measure",
        )
        chosen = self.recipe.input(self._load_recipe, self.recipe, [self.summary, *self.inputs], **QUIET)
        chosen.then(self.preview, self.inputs, self.previewed, **QUIET)
        read = self.dropped.upload(
            self._load_dropped, self.dropped, [self.summary, self.dropped, *self.inputs], **QUIET
        )
        read.then(self.preview, self.inputs, self.previewed, **QUIET)
        aimed = self.aims.aim(self._aim, self.inputs, [self.aimed, *self.inputs], **QUIET)  # type: ignore[attr-defined]
        aimed.then(self.preview, self.inputs, self.previewed, **QUIET)


_DROP = "<b>or from a file</b><small>a run's YAML, an adapter's README.md or adapter_config.json</small>"
_REVIEW = "<h2>5 · Review</h2>"
_NOTHING_YET = f"{_REVIEW}<p class='ps-about'>Numbers, command and YAML follow when the form fits.</p>"


def _about_html(part: str, kind: str) -> str:
    return f'<p class="ps-about">{escape(about(part, kind))}</p>'


def _summary(name: str | None) -> str:
    return f'<p class="ps-about">{escape(recipe(name).summary)}</p>' if name else ""


def _aims_html() -> str:
    buttons = "".join(
        f'<button type="button" class="ps-remedy" data-aim="{aim.key}"><b>{escape(aim.title)}</b>'
        f"<small>{escape(aim.about)}</small></button>"
        for aim in aims().values()
    )
    return f'<div class="ps-aims" role="group" aria-label="Ways to train">{buttons}</div>'


def _changes_html(name: str, changes: list[tuple[str, Any, Any]]) -> str:
    """Return what a way to train changed, in a sentence."""
    if not changes:
        return f'<p class="ps-about">{escape(name)}: the settings are so already.</p>'
    told = [f"{key} {_brief(new)} (was {_brief(old)})" for key, old, new in changes[:_TOLD]]
    more = f", and {len(changes) - _TOLD} more" if len(changes) > _TOLD else ""
    return f'<p class="ps-about">{escape(name)}: {escape(", ".join(told))}{more}.</p>'


def _brief(value: Any) -> str:
    if value is None:
        return "empty"
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )


def _group(setting: Setting) -> str:
    return setting.path[0] if len(setting.path) > 1 else ""
