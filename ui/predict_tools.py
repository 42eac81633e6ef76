"""What the Predict tab offers beside one answer: a second adapter, what matters, pasted points, many files at once."""

from __future__ import annotations

import base64
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..core.csv_text import csv_text
from ..core.data.files import EXTENSIONS, read_untrusted, read_untrusted_image
from ..core.data.kinds import require_modality
from ..core.data.picture import IMAGE_EXTENSIONS
from ..core.errors import UserError
from ..core.importance import Importance, importance
from ..core.predict import Prediction, Predictor
from . import pieces
from .viewer import payload, with_weights

MESH_POINTS = 8192
"""Points taken from an uploaded mesh's surface."""
MOST_FILES = 500
SHOWN_ROWS = 100
PASTED = 4 * 2**20
"""Letters of pasted points, at most."""
_TINT = {1: (224, 110, 20), -1: (50, 90, 190)}
_COUNT = itertools.count()


@dataclass(frozen=True)
class Given:
    """What was answered last, so that it can be asked of others: a cloud (N, 3), or an image (H, W, 3) uint8."""

    what: np.ndarray
    name: str
    truth: str | None = None
    category: str | None = None
    number: int = field(default_factory=lambda: next(_COUNT))


def matters(predictor: Predictor, given: Given) -> tuple[dict[str, Any] | None, Image.Image | None, str]:
    """Return what viewer, picture and a note show of how much each patch matters. UserError."""
    if predictor.answers == "parts":
        raise UserError(
            "This adapter tells the part of each point, and no single answer rests on a patch",
            remedy="Choose an adapter that tells classes",
        )
    found = importance(predictor, given.what, name=given.name)
    if found.grid is not None:
        return None, tinted(found), _told(found, "square")
    assert found.answer.patch is not None
    shown = payload(found.answer.points, found.answer.total_points, found.answer.patch)
    return with_weights(shown, found.loss[found.answer.patch]), None, _told(found, "patch")


def tinted(found: Importance) -> Image.Image:
    """Return the image that the model saw with each square tinted: warm where the answer rests on it, cool against."""
    assert found.grid is not None
    image = found.answer.inputs
    most = float(np.abs(found.loss).max()) or 1.0
    made = image.astype(np.float32)
    rows, columns = found.grid
    for number, loss in enumerate(found.loss / most):
        i, j = divmod(number, columns)
        place = (
            slice(image.shape[0] * i // rows, image.shape[0] * (i + 1) // rows),
            slice(image.shape[1] * j // columns, image.shape[1] * (j + 1) // columns),
        )
        share = 0.6 * abs(float(loss))
        made[place] = made[place] * (1 - share) + np.array(_TINT[1 if loss > 0 else -1]) * share
    return Image.fromarray(made.round().astype(np.uint8)).resize((896, 896), Image.Resampling.NEAREST)


def _told(found: Importance, noun: str) -> str:
    decisive = [label for label, other in zip(found.labels, found.decisive) if other]
    parts = f"{len(found.labels)} {noun}es" if noun == "patch" else f"{len(found.labels)} {noun}s"
    said = (
        f"No single {noun} decides: without any one of {parts} the answer stays {found.answer.label}."
        if not decisive
        else f"{len(decisive)} of {parts} {'is' if len(decisive) == 1 else 'are'} decisive: without "
        f"{'it' if len(decisive) == 1 else 'one of them'} the answer is {_either(decisive)}."
    )
    best = int(found.loss.argmax())
    most = (
        f"The most that one {noun} is worth: {100 * float(found.loss[best]):.1f} % of probability (number {best + 1})."
        if found.loss[best] > 0
        else f"None speaks for the answer: without any of them {found.answer.label} gets no less likely."
    )
    return f'<p class="ps-quiet" id="matters-said">{escape(said)} {escape(most)}</p>'


def _either(labels: Sequence[str]) -> str:
    known = list(dict.fromkeys(labels))[:4]
    return " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)


def pasted(text: str) -> np.ndarray:
    """Return the points (N, 3) of text with x, y and z in each line. UserError as for a file of it."""
    if not (text or "").strip():
        raise UserError("No points were pasted", expected="x, y and z in each line")
    if len(text) > PASTED:
        raise UserError(
            "So much text is better uploaded as a file", got=f"{len(text):,} letters", expected=f"{PASTED:,}"
        )
    with tempfile.TemporaryDirectory(prefix="pointsmith-paste-") as folder:
        path = Path(folder) / "pasted.xyz"
        path.write_text(text.replace(",", " ").replace(";", " ").strip() + "\n", encoding="utf-8")
        return read_untrusted(path, 0, 0)


@dataclass
class Row:
    """One line of many answers: a file and what was said of it, or why nothing was."""

    name: str
    answer: Prediction | None = None
    problem: str = ""


def many(predictor: Predictor, files: Sequence[Path]) -> Iterator[list[Row]]:
    """Predict files one by one, yielding all rows so far. A file that cannot be read is named, and the others go on.

    UserError for too many, and for an adapter of parts.
    """
    if predictor.answers == "parts":
        raise UserError("This adapter tells parts, which do not fit one line a file", remedy="Use `pointsmith predict`")
    if len(files) > MOST_FILES:
        raise UserError(
            "Too many files for the page",
            got=len(files),
            expected=f"at most {MOST_FILES}",
            remedy="`pointsmith predict`",
        )
    rows: list[Row] = []
    for path in files:
        row = Row(path.name)
        try:
            require_modality(path.name, predictor.modality)
            images = predictor.modality == "images"
            given = read_untrusted_image(path) if images else read_untrusted(path, MESH_POINTS, 0)
            row.answer = predictor.predict([given], names=[path.name])[0]
        except UserError as error:
            row.problem = str(error)
        rows.append(row)
        yield rows


def table(rows: Sequence[Row], classes: Sequence[str], whole: int) -> str:
    """Return many answers as a table, with a link to all of them as CSV once they are complete."""
    right = sum(row.answer is not None for row in rows)
    said = f"{len(rows)} of {whole} files, {right} answered" + (
        f", {len(rows) - right} not" if right < len(rows) else ""
    )
    body = ""
    for row in rows[-SHOWN_ROWS:]:
        if row.answer is None:
            body += f'<tr><th scope="row">{escape(row.name)}</th><td colspan="2">{escape(row.problem)}</td></tr>'
        else:
            share = pieces.percent(float(row.answer.probabilities.max()))
            body += (
                f'<tr><th scope="row">{escape(row.name)}</th><td>{escape(row.answer.label)}</td><td>{share}</td></tr>'
            )
    done = len(rows) == whole
    link = ""
    if done and rows:
        content = base64.b64encode(as_csv(rows, classes).encode()).decode("ascii")
        link = (
            f'<a class="ps-button" id="many-csv" download="predictions.csv" href="data:text/csv;base64,{content}">'
            "Download CSV</a>"
        )
    more = f'<p class="ps-quiet">The last {SHOWN_ROWS} are shown.</p>' if len(rows) > SHOWN_ROWS else ""
    bar = "" if done else pieces.bar(len(rows) / max(1, whole), "files answered")
    return (
        f'<p class="ps-quiet" role="status">{said}</p>{bar}{more}<div class="ps-scroll" tabindex="0" role="region" '
        f'aria-label="Answers"><table class="ps-classes ps-many"><tbody>{body}</tbody></table></div>{link}'
    )


def as_csv(rows: Sequence[Row], classes: Sequence[str]) -> str:
    """Return one line a file: name, label, probability, the problem if any, and the probability of every class."""
    lines: list[list[str]] = []
    for row in rows:
        if row.answer is None:
            lines.append([row.name, "", "", row.problem, *[""] * len(classes)])
        else:
            shares = [f"{float(share):.6f}" for share in row.answer.probabilities]
            best = f"{float(row.answer.probabilities.max()):.6f}"
            lines.append([row.name, row.answer.label, best, "", *shares])
    return csv_text(["file", "label", "probability", "problem", *classes], lines)


def upload_types() -> list[str]:
    """Return the endings of all files that can be predicted."""
    return [f".{one}" for one in sorted({*EXTENSIONS, *IMAGE_EXTENSIONS})]


class Tools:
    """The tools' components, built where this is constructed."""

    def __init__(self) -> None:
        self.box = gr.Accordion("Beside it: a second adapter", open=False, elem_classes="ps-card", elem_id="beside-box")
        with self.box:
            self.beside = gr.Dropdown(
                [],
                value=None,
                label="Second adapter",
                info="Sees the same input; both views turn together",
                interactive=True,
                filterable=False,
                elem_id="beside",
            )
            self.second = pieces.panel("second-answer")
        with gr.Accordion("Paste points", open=False, elem_classes="ps-card", elem_id="paste-box"):
            self.text = gr.Textbox(
                label="x y z in each line", lines=6, max_lines=12, placeholder="0.1 0.2 0.3\n…", elem_id="paste"
            )
            self.paste = gr.Button("Predict what is pasted", size="sm", elem_id="paste-go")
        with gr.Accordion("Many files at once", open=False, elem_classes="ps-card", elem_id="many-box"):
            self.files = gr.File(
                label="Files", file_count="multiple", file_types=upload_types(), elem_id="many-files", height=140
            )
            with gr.Row(elem_classes="ps-actions"):
                self.go = gr.Button("Predict all", size="sm", elem_id="many-go")
                self.halt = gr.Button("Stop", size="sm", elem_id="many-stop")
            self.rows = pieces.panel("many-rows")
