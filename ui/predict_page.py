"""The Predict tab: an adapter, a cloud or an image, and what the one says of the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..core.data.files import EXTENSIONS, read_untrusted, read_untrusted_image
from ..core.data.kinds import require_modality
from ..core.data.picture import IMAGE_EXTENSIONS
from ..core.data.procedural import CLASSES
from ..core.errors import UserError
from ..core.hub.place import hub_id, named_on_hub
from ..core.predict import Prediction, Predictor, Segmentation
from ..core.serving.server import Server
from . import pieces
from .address import address
from .events import PRIVATE, QUIET, UNSEEN
from .loaded import Adapters, Chosen, alone
from .predict_tools import MESH_POINTS, Given, Tools, many, matters, pasted, table
from .samples import Sample, Samples
from .shelf import Found, Shelf
from .viewer import part_colours, payload, viewer, with_parts

SHOWN_PIXELS = 1024
"""The longer side of an image as it is sent to the browser, at most."""

_ANY = "any class"
Handler = Callable[..., list[Any]]


class PredictPage:
    """Builds the tab's components on construction; `wire` then connects them."""

    def __init__(
        self,
        shelf: Shelf,
        keep: int = 256,
        check: Callable[[Path], None] = lambda _: None,
        *,
        folders: bool = True,
        device: str = "cpu",
        lend: Callable[[Handler], Handler] | None = None,
    ) -> None:
        self.shelf, self.samples = shelf, Samples()
        self._folders = folders  # whether places on this server, and other ids of the Hub, may be named
        self._device, self._lend = device, lend  # `lend` wraps what computes, where a GPU is lent for each call
        self._check = check  # what this page's rules say of a folder on this server
        self._server = Server()  # adapters on shared backbones; it forgets the least used where memory has a limit
        self._adapters = Adapters(shelf, keep, self._open, self._found)
        with gr.Row(elem_classes="ps-split"):
            with gr.Column(scale=3, min_width=320):
                with gr.Row(elem_classes="ps-linked"):
                    self.viewer = viewer("viewer")
                    self.beside = viewer("viewer-beside", visible=False)
                self.picture = gr.Image(
                    visible=False,
                    interactive=False,
                    type="filepath",
                    show_label=False,
                    container=False,
                    buttons=[],
                    format="png",
                    elem_id="picture",
                )
            with gr.Column(scale=2, min_width=320, elem_classes="ps-side"):
                self._choices()
        self.given = gr.State(None)
        self.shown = [self.viewer, self.picture, self.answer, self.given]
        self.fitted = [self.label, self.viewer, self.picture, self.upload, self.upload_image, self.category]

    def _choices(self) -> None:
        with gr.Group(elem_classes="ps-card"):
            shown: dict[str, Any] = {"interactive": True, "filterable": False}
            self.adapter = gr.Dropdown(
                [],
                value=None,
                label="Adapter",
                info="Of a finished run, pulled from the Hub, or an example" if self._folders else None,
                **shown,
                elem_id="adapter",
            )
            self.label = gr.Dropdown(
                [_ANY, *CLASSES],
                value=_ANY,
                label="Sample",
                info="Of its kind, not trained on",
                **shown,
                elem_id="sample",
            )
            self.category = gr.Dropdown(
                [],
                value=None,
                label="Category of what you upload",
                info="Its parts are told apart",
                visible=False,
                **shown,
                elem_id="category",
            )
        with gr.Row(elem_classes="ps-actions"):
            self.another = gr.Button("Try a sample", elem_id="another", size="md", variant="primary")
            self.upload = gr.UploadButton(
                "Upload a mesh or a cloud",
                file_types=[f".{one}" for one in sorted(EXTENSIONS)],
                file_count="single",
                elem_id="upload-cloud",
                size="md",
            )
            self.upload_image = gr.UploadButton(
                "Upload an image",
                file_types=[f".{one}" for one in sorted(IMAGE_EXTENSIONS)],
                file_count="single",
                visible=False,
                elem_id="upload-image",
                size="md",
            )
            self.matters = gr.Button("What matters?", elem_id="matters", size="md")
        self.answer = pieces.panel("answer", _nothing() if self._folders else "")
        self.tools = Tools()
        with gr.Accordion(
            "Use an adapter of the Hub, or a folder", open=False, elem_classes="ps-card", visible=self._folders
        ):
            self.folder = gr.Textbox(
                label="OWNER/NAME[@REVISION] on the Hugging Face Hub, or a folder on this server",
                info="Takes the place of the adapter chosen above. Press Enter.",
                placeholder="none",
                max_lines=1,
                elem_id="adapter-folder",
            )

    def choose(self, wanted: str | None) -> Any:
        """Return the update of the adapter menu: `wanted` if it is finished or may be pulled, else the newest."""
        try:
            found = self.shelf.listed()
        except UserError as error:
            raise gr.Error(str(error), title="Predict", print_exception=False) from error
        ids = [one for _, one in found]
        if wanted and wanted not in ids and self._folders and hub_id(wanted):
            found, ids = [*found, (f"{wanted} on the Hub", wanted)], [*ids, wanted]
        return gr.update(choices=found, value=wanted if wanted in ids else ids[0] if ids else None)

    def _load(self, run_id: str | None, folder: str) -> Chosen:
        return self._adapters.get(run_id, folder)

    def _open(self, found: Found) -> Predictor:
        if self._lend is None:
            return self._server.open(found.folder, backbone_weights=found.weights, untrusted=not found.trusted)
        # What is lent computes in a copy of this process, which has none of the server's threads.
        return alone(found, self._device)

    def _found(self, text: str) -> Found:
        """Return the adapter that is typed: an id of the Hub, or a folder that this page's rules let be named."""
        if not self._folders:
            raise UserError("This page does not offer that adapter", got=text)
        if named_on_hub(text) is not None and (found := self.shelf.find(text)) is not None:
            return found
        self._check(Path(text))
        return Found(Path(text).expanduser())

    def predictor(self, adapter: str) -> Predictor:
        """Return the adapter of a run's id, or of one on the Hub, ready to be asked. UserError where there is none."""
        return self._load(adapter, "").predictor

    def sample(self, run_id: str | None, folder: str, label: str | None) -> list[Any]:
        """Predict a sample; return what viewer, picture and answer show."""
        try:
            chosen = self._load(run_id, folder)
            of_parts = chosen.predictor.answers == "parts"
            if chosen.run is None and (of_parts or chosen.predictor.modality == "images"):
                noun, one = ("labelled clouds", "a cloud") if of_parts else ("images", "an image")
                raise UserError(f"This adapter brings no {noun} to try", remedy=f"Upload {one}")
            drawn = self.samples.draw(chosen.run, None if label == _ANY else label)
            if of_parts:
                return _parts_answer(chosen, drawn)
            return _answer_of(chosen, Given(drawn.given, drawn.name, drawn.truth))
        except UserError as error:
            return _problem(error)

    def uploaded(self, run_id: str | None, folder: str, upload: str, category: str | None = None) -> list[Any]:
        """Predict an uploaded file; return what viewer, picture and answer show."""
        try:
            chosen = self._load(run_id, folder)
            path = Path(upload)
            require_modality(path.name, chosen.predictor.modality)
            if chosen.predictor.modality == "images":
                given = read_untrusted_image(path)
            else:
                given = read_untrusted(path, MESH_POINTS, 0)
            return _answer_of(chosen, Given(given, path.name, category=category))
        except UserError as error:
            return _problem(error)
        finally:
            Path(upload).unlink(missing_ok=True)

    def pasted(self, run_id: str | None, folder: str, text: str, category: str | None = None) -> list[Any]:
        """Predict pasted points; return what viewer, picture and answer show."""
        try:
            chosen = self._load(run_id, folder)
            require_modality("points.xyz", chosen.predictor.modality)
            return _answer_of(chosen, Given(pasted(text), "pasted points", category=category))
        except UserError as error:
            return _problem(error)

    def weigh(self, run_id: str | None, folder: str, given: Given | None) -> list[Any]:
        """Return what viewer, picture and answer show of how much each patch of the last input matters."""
        try:
            if given is None:
                raise UserError("Nothing has been answered yet", remedy="Try a sample, or upload a file")
            chosen = self._load(run_id, folder)
            before = _answer_of(chosen, given)
            cloud, picture, told = matters(chosen.predictor, given)
            return [cloud or gr.skip(), picture or gr.skip(), f"{before[2]}{told}", gr.skip()]
        except UserError as error:
            return _problem(error)

    def others(self, chosen: str | None) -> Any:
        """Return the update of the menu of second adapters, with a way back to none."""
        try:
            found = self.shelf.listed()
        except UserError as error:
            raise gr.Error(str(error), title="Predict", print_exception=False) from error
        return gr.update(choices=[("none", ""), *found], value=chosen or "")

    def ask_second(self, second: str | None, given: Given | None) -> list[Any]:
        """Return what the second viewer and its answer show of the last input; hidden where no second is chosen."""
        if not second:
            return [gr.update(visible=False), ""]
        if given is None:
            return [gr.update(visible=False), pieces.notice("info", ["Try a sample, or upload a file."])]
        try:
            cloud, _, said, _ = _answer_of(self._load(second, ""), given)
        except UserError as error:
            return [gr.update(visible=False), pieces.notice("error", [str(error)])]
        clouds = isinstance(cloud, dict)
        return [gr.update(value=cloud if clouds else None, visible=clouds), said]

    def many(self, run_id: str | None, folder: str, files: list[str] | None) -> Iterator[str]:
        """Yield the table of answers of many files as it grows."""
        try:
            if not files:
                raise UserError("There are no files", remedy="Drop some above")
            chosen = self._load(run_id, folder)
            for rows in many(chosen.predictor, [Path(one) for one in files]):
                yield table(rows, chosen.predictor.classes, len(files))
        except UserError as error:
            yield pieces.notice("error", [str(error)])

    def fit(self, run_id: str | None, folder: str, label: str | None) -> list[Any]:
        """Return the updates of what depends on the adapter: the menu of samples, and viewer or picture."""
        try:
            chosen = self._load(run_id, folder) if run_id or (folder or "").strip() else None
        except UserError:
            chosen = None  # said by the prediction that follows
        pictures = chosen is not None and chosen.predictor.modality == "images"
        of_parts = chosen is not None and chosen.predictor.answers == "parts"
        own = chosen is not None and (pictures or of_parts or self.samples.own(chosen.run))
        classes = chosen.predictor.classes if chosen and own else CLASSES
        menu = gr.update(choices=[_ANY, *classes], value=label if label in classes else _ANY)
        clouds, images = gr.update(visible=not pictures), gr.update(visible=pictures)
        first = label if label in classes else classes[0]
        asked = gr.update(choices=list(classes), value=first, visible=True) if of_parts else gr.update(visible=False)
        return [menu, clouds, images, clouds, images, asked]

    def first(self, run_id: str | None, folder: str, cloud: Any, picture: str | None) -> list[Any]:
        """Show a sample on the first visit, where there is an adapter; leave later visits as they are."""
        shown = cloud or picture
        if shown or not run_id:
            return [gr.skip(), gr.skip(), gr.skip() if shown else _nothing(), gr.skip()]
        return self.sample(run_id, folder, _ANY)

    def wire(self) -> None:
        """Connect what happens inside this tab."""
        slow: dict[str, Any] = {
            "concurrency_id": "predict",
            "concurrency_limit": 16,  # the server gathers them into batches
            "show_progress": "minimal",
            "show_progress_on": self.answer,
            **PRIVATE,
        }
        which, shown, tools = [self.adapter, self.folder], self.shown, self.tools
        second = [[tools.beside, self.given], [self.beside, tools.second]]
        sample, uploaded = (self._lend(one) if self._lend else one for one in (self.sample, self.uploaded))
        weigh, ask_second = (self._lend(one) if self._lend else one for one in (self.weigh, self.ask_second))
        quick = {**slow, **UNSEEN}
        drawn = gr.on([self.another.click, self.label.input], sample, [*which, self.label], shown, **slow)
        drawn.then(ask_second, *second, **quick)
        tools.box.expand(self.others, tools.beside, tools.beside, **QUIET)
        tools.beside.input(ask_second, *second, **slow)
        self.matters.click(weigh, [*which, self.given], shown, **slow)
        for upload in (self.upload, self.upload_image):
            # Files are read in processes of their own, each with its memory.
            reading = {**slow, "concurrency_id": "uploads", "concurrency_limit": 2}
            read = upload.upload(uploaded, [*which, upload, self.category], shown, **reading)
            read.then(ask_second, *second, **quick)
        read = tools.paste.click(self.pasted, [*which, tools.text, self.category], shown, **reading)
        read.then(ask_second, *second, **quick)
        lasting = {**reading, "concurrency_id": "many", **UNSEEN}
        going = tools.go.click(self.many, [*which, tools.files], tools.rows, **lasting)
        tools.halt.click(None, None, None, cancels=[going], **PRIVATE)
        changed = gr.on([self.adapter.input, self.folder.submit], self.fit, [*which, self.label], self.fitted, **slow)
        changed.then(sample, [*which, self.label], shown, **slow).then(ask_second, *second, **quick)
        self.adapter.input(None, self.adapter, None, js=address("adapter"), **PRIVATE)


def _answer_of(chosen: Chosen, given: Given) -> list[Any]:
    """Return what viewer, picture and answer show of an input, and the input itself, to be asked of others."""
    if chosen.predictor.answers == "parts":
        category = given.category if given.category in chosen.predictor.classes else chosen.predictor.classes[0]
        return _parts_answer(chosen, Sample(given.what, category, given.name))
    require_modality("given.xyz" if given.what.ndim == 2 else "given.png", chosen.predictor.modality)
    return [*_answer(chosen, given.what, given.name, given.truth), given]


def _answer(chosen: Chosen, given: np.ndarray, name: str, truth: str | None) -> list[Any]:
    begun = time.perf_counter()
    prediction = chosen.predictor.predict([given], names=[name])[0]
    took = time.perf_counter() - begun
    said = _answer_html(chosen, prediction, name, truth, took)
    if prediction.patch is None:
        picture = Image.fromarray(given)
        picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        return [gr.skip(), picture, said]
    return [payload(prediction.points, prediction.total_points, prediction.patch), gr.skip(), said]


def _parts_answer(chosen: Chosen, given: Sample) -> list[Any]:
    """Return what viewer, picture and answer show of a cloud of a known category, and of its true parts if known."""
    begun = time.perf_counter()
    found = chosen.predictor.segment([given.given], given.truth, names=[given.name])[0]
    took = time.perf_counter() - begun
    drawn = with_parts(
        payload(found.points, len(found.points), found.patch), found.part_names, found.parts, given.parts
    )
    asked = Given(given.given, given.name, category=given.truth)
    return [drawn, gr.skip(), _parts_html(chosen, found, given, took), asked]


def _parts_html(chosen: Chosen, found: Segmentation, given: Sample, took: float) -> str:
    """Return the legend: each part with its colour, its share of the points, and its IoU where the truth is known."""
    rows, ious = "", list[float]()
    for number, (name, colour) in enumerate(zip(found.part_names, part_colours(len(found.part_names)))):
        said = found.parts == number
        title = f'<i class="ps-swatch" style="background:{colour}"></i>{escape(name)}'
        beside = ""
        if given.parts is not None:
            true = given.parts == number
            either = int((said | true).sum())
            ious.append(int((said & true).sum()) / either if either else 1.0)
            beside = f"<td>{pieces.percent(ious[-1])}</td>"
        rows += f'<tr><th scope="row">{title}</th><td>{pieces.percent(float(said.mean()))}</td>{beside}</tr>'
    verdict = f"mIoU of this cloud {pieces.percent(float(np.mean(ious)))}" if ious else "its true parts are not known"
    heads = "<th>part</th><td>of the points</td>" + ("<td>IoU</td>" if ious else "")
    config = chosen.predictor.config
    return (
        f'<div class="ps-card ps-answer"><p class="ps-quiet">{escape(given.name)}</p>'
        f'<div class="ps-head"><h2 id="label">{escape(found.category)}</h2></div><p>{verdict}</p>'
        f'<table class="ps-classes ps-parts"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="ps-quiet">{took * 1000:.0f} ms on {escape(str(chosen.predictor.device))} · '
        f"{escape(config.adapter_type)} on {escape(config.backbone.kind)} · {len(found.parts):,} points answered, "
        f"{found.seen:,} seen by the backbone</p></div>"
    )


def _problem(error: UserError) -> list[Any]:
    return [gr.skip(), gr.skip(), pieces.notice("error", [str(error)]), gr.skip()]


def _seen(prediction: Prediction) -> str:
    if prediction.patch is None:
        height, width = prediction.inputs.shape[:2]
        return f"seen by the model as {width} × {height} pixels"
    return f"{len(prediction.points):,} of {prediction.total_points:,} points seen by the model"


def _answer_html(chosen: Chosen, prediction: Prediction, name: str, truth: str | None, took: float) -> str:
    rows = "".join(pieces.share_row(label, value) for label, value in prediction.top(chosen.predictor.classes))
    verdict = ""
    if truth is not None and truth in chosen.predictor.classes:
        right = truth == prediction.label
        verdict = pieces.chip("succeeded" if right else "failed", "correct" if right else f"it is: {truth}")
    model = f"{chosen.predictor.config.adapter_type} on {chosen.predictor.config.backbone.kind}"
    return (
        f'<div class="ps-card ps-answer"><p class="ps-quiet">{escape(name)}</p>'
        f'<div class="ps-head"><h2 id="label">{escape(prediction.label)}</h2>{verdict}</div>'
        f'<table class="ps-classes"><tbody>{rows}</tbody></table>'
        f'<p class="ps-quiet">{took * 1000:.0f} ms on {escape(str(chosen.predictor.device))} · {escape(model)} · '
        f"{_seen(prediction)}</p></div>"
    )


def _nothing() -> str:
    return pieces.empty("No adapter yet", "Train one first: the default settings under Train take about two minutes.")
