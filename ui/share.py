"""The Share part of a finished run: push it to the Hub, verify what was pushed, and make a demo Space of it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ..core.adapters import AdapterConfig
from ..core.config import parse_config
from ..core.errors import UserError
from ..core.hub.client import Hub
from ..core.hub.history import History
from ..core.hub.place import HubId, require_hub_id
from ..core.hub.push import Pushed, Told, push
from ..core.hub.space import demos, push_space
from ..core.hub.verify import verify
from ..worker.own_runs import OwnRuns
from ..worker.run import Run
from . import pieces
from .access import Access
from .command import command_line
from .events import QUIET
from .hub_login import writing_hub
from .sharing import Sharing, What, remembered
from .shelf import HubShelf, own_weights

_DOING = {"push": "Pushing", "verify": "Verifying", "space": "Publishing the demo"}


@dataclass(frozen=True)
class Found:
    """What verifying found, as it is noted."""

    same: bool
    lines: tuple[str, ...]


class SharePart:
    """Builds the components on construction; `wire` connects them. Every handler asks whose run it is."""

    def __init__(self, runs: OwnRuns, access: Access, shelf: HubShelf) -> None:
        self.runs, self.access, self.shelf, self.sharing = runs, access, shelf, Sharing()
        with gr.Accordion("Share", open=False, visible=False, elem_id="share", elem_classes="ps-card") as self.box:
            self.said = pieces.panel("share-said", "", pieces.COPY_CODE)
            with gr.Row(elem_classes="ps-actions"):
                self.name = gr.Textbox(
                    label="Name on the Hugging Face Hub", placeholder="OWNER/NAME", max_lines=1, elem_id="share-name"
                )
                self.private = gr.Checkbox(
                    label="Private", info="Only you, and whom you let, may see it", elem_id="share-private"
                )
            with gr.Row(elem_classes="ps-actions"):
                small: dict[str, Any] = {"size": "md"}
                self.push = gr.Button("Push to the Hub", variant="primary", elem_id="share-push", **small)
                self.verify = gr.Button("Verify", visible=False, elem_id="share-verify", **small)
                self.space = gr.Button("Make a demo Space", visible=False, elem_id="share-space", **small)
                self.hardware = gr.Dropdown(
                    [("on a free CPU", "cpu"), ("on ZeroGPU", "zero")],
                    value="cpu",
                    show_label=False,
                    container=False,
                    visible=False,
                    filterable=False,
                    interactive=True,
                    elem_id="share-hardware",
                )
            self.timer = gr.Timer(1.0, active=False)
        self.shown = [self.box, self.said, self.verify, self.space, self.hardware, self.timer]

    def view(self, run_id: str) -> list[Any]:
        """Return an update for each of `shown`."""
        run = self._run(run_id)
        if run is None or run.state != "succeeded":
            return [gr.update(visible=False), *[gr.skip()] * 4, gr.Timer(active=False)]
        task, known = self.sharing.task(run.id), remembered(run.folder)
        busy = task is not None and not task.over
        lines: list[str] = []
        if task is not None and busy:
            lines.append(f'<p role="status">{_DOING[task.what]}: {escape(task.doing)}</p>')
            lines.append(pieces.bar(task.share, _DOING[task.what]))
        elif task is not None and task.error:
            lines.append(pieces.notice("error", [task.error]))
        lines.append(_known(known))
        pushed = gr.update(visible="push" in known)
        return [gr.update(visible=True), "".join(lines), pushed, pushed, pushed, gr.Timer(active=busy)]

    def opened(self, run_id: str) -> list[Any]:
        """`view`, and the name that the run was pushed as, or nothing yet."""
        run = self._run(run_id)
        known = remembered(run.folder).get("push", {}) if run else {}
        return [*self.view(run_id), str(known.get("name", "")), bool(known.get("private", False))]

    def _run(self, run_id: str) -> Run | None:
        try:
            return self.runs.get(run_id) if run_id else None
        except UserError:
            return None

    def _start(self, run_id: str, what: What, make: Any) -> list[Any]:
        """Begin what `make(run, hub)` returns; what does not fit is said at once."""
        try:
            run = self.runs.get(run_id)
            if run.state != "succeeded":
                raise UserError("This run has no adapter: it did not finish", got=run.state)
            self.sharing.start(run.id, run.folder, what, make(run, writing_hub(self.access)))
        except UserError as error:
            gr.Warning(str(error), title="Share")
        return self.view(run_id)

    def pushing(self, run_id: str, name: str, private: bool) -> list[Any]:
        """Push the run's adapter."""

        def make(run: Run, hub: Hub) -> Any:
            target = require_hub_id((name or "").strip(), "A repository").name
            place = self.runs.bring(run, str((run.result or {}).get("adapter") or "adapter"))
            history = History.of(self.runs.events(run.id)[0])

            def work(told: Told) -> Pushed:
                return push(
                    place, target, hub=hub, private=bool(private), history=history, command=command_line, told=told
                )

            return work

        return self._start(run_id, "push", make)

    def verifying(self, run_id: str) -> list[Any]:
        """Pull what was pushed, score it again, and compare."""

        def make(run: Run, hub: Hub) -> Any:
            pushed, shelf = _pushed(run), self.shelf.place()
            data, weights = parse_config(run.config).data, own_weights(run)

            def scored_on(_: object, config: AdapterConfig) -> Any:
                return data

            def work(told: Told) -> Found:
                told("Fetching it, and scoring it again", 0.1)
                found = verify(pushed, hub=hub, shelf=shelf, data=scored_on, backbone_weights=weights)
                return Found(found.same, tuple(found.lines()))

            return work

        return self._start(run_id, "verify", make)

    def demonstrating(self, run_id: str, hardware: str) -> list[Any]:
        """Publish a demo Space of what was pushed."""

        def make(run: Run, hub: Hub) -> Any:
            pushed, shelf = _pushed(run), self.shelf.place()
            private = bool(remembered(run.folder)["push"].get("private"))

            def work(told: Told) -> Pushed:
                shown = demos([str(pushed)], hub=hub, shelf=shelf)
                chosen: Any = "zero" if hardware == "zero" else "cpu"
                name = f"{pushed.name}-demo"
                return push_space(name, shown, hub=hub, title=run.name, hardware=chosen, private=private, told=told)

            return work

        return self._start(run_id, "space", make)

    def wire(self, selected: gr.Textbox, changes: Any) -> None:
        """Connect to what names the shown run, and to an event that happens whenever its state may have changed."""
        selected.change(self.opened, selected, [*self.shown, self.name, self.private], **QUIET)
        changes(self.view, selected, self.shown, **QUIET)
        self.timer.tick(self.view, selected, self.shown, **QUIET)
        self.push.click(self.pushing, [selected, self.name, self.private], self.shown, **QUIET)
        self.verify.click(self.verifying, selected, self.shown, **QUIET)
        self.space.click(self.demonstrating, [selected, self.hardware], self.shown, **QUIET)


def _pushed(run: Run) -> HubId:
    known = remembered(run.folder).get("push")
    if not known:
        raise UserError("This run was not pushed yet", remedy="Push it first")
    return HubId(str(known["name"]), str(known["revision"]))


def _known(known: dict[str, Any]) -> str:
    """Return what was published, where, and what verifying found."""
    said: list[str] = []
    if pushed := known.get("push"):
        name, revision = str(pushed["name"]), str(pushed["revision"])
        who = "private" if pushed.get("private") else "public"
        said.append(
            f"<p>Pushed as {_link(pushed['url'], name)} ({who}), {pieces.ago(pushed['at'])}, at revision "
            f"<code>{escape(revision)}</code></p>"
        )
        said.append(pieces.code(f"pointsmith predict {name}@{revision} FILE", "Use it anywhere"))
    if (found := known.get("verify")) and pushed and found["at"] > pushed["at"]:
        kind = "info" if found["same"] else "error"
        said.append(pieces.notice(kind, [" · ".join(found["lines"])]))
    if space := known.get("space"):
        said.append(f"<p>Demo: {_link(space['url'], str(space['name']))}, {pieces.ago(space['at'])}</p>")
        if space.get("private"):
            why = "The adapter is private: in the Space's settings, give it a secret HF_TOKEN that may read it."
            said.append(pieces.notice("info", [why]))
    if not said:
        said.append(
            '<p class="ps-quiet">One commit with the adapter, its configuration and a card: results, curves, cost, '
            "command, and how to load it. No path of this machine goes along.</p>"
        )
    return "".join(said)


def _link(address: object, text: str) -> str:
    url = str(address)
    if not url.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(url)}" target="_blank" rel="noopener">{escape(text)}</a>'
