"""What programs may call: a few typed endpoints for gradio_client, and the same as tools of the Model Context Protocol.

Everything else that the page calls is private. Errors are one sentence; arguments and answers are plain JSON.
"""

from __future__ import annotations

import base64
import binascii
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np

from ..core.config import RunConfig, amend, parse_config, read_inherited
from ..core.data.files import read_untrusted, read_untrusted_image
from ..core.data.kinds import require_modality
from ..core.errors import UserError
from ..core.predict import Prediction, Predictor
from ..core.recipes import recipe as find_recipe
from ..worker.own_runs import OwnRuns
from ..worker.run import Run
from ..worker.store import RunStore
from .review import check_files

MESH_POINTS = 8192
"""Points taken from the surface of a mesh."""
LARGEST = 64 * 2**20
"""Bytes of a file that is sent to be predicted, at most."""
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def _said(function: Endpoint) -> Endpoint:
    """Have a UserError reach the caller as its sentence, without a traceback in the server's log."""

    @functools.wraps(function)
    def said(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise gr.Error(str(error), title="Pointsmith", print_exception=False) from error

    return said  # type: ignore[return-value]


@dataclass
class Api:
    """The endpoints over the runs of whoever calls; `check` says what this page's rules think of a run."""

    runs: RunStore | OwnRuns
    check: Callable[[RunConfig], None]
    load: Callable[[str], Predictor]
    """Of an adapter's name: a run's id, or whatever else the Predict tab takes."""

    def offer(self) -> None:
        """Add the endpoints to the Blocks that are being built."""
        for function in (self.submit, self.status, self.events, self.cancel, self.predict, self.predict_file):
            # No place in a queue: each is short, but for predictions, which the page and programs queue for together.
            predicts = function in (self.predict, self.predict_file)
            limits: dict[str, Any] = {"concurrency_id": "predict", "concurrency_limit": 16} if predicts else {}
            gr.api(_said(function), api_name=function.__name__, queue=predicts, **limits)

    def submit(self, settings: dict[str, Any], recipe: str = "", name: str = "") -> dict[str, Any]:
        """Queue a run and return its id and state.

        Args:
            settings: what differs from the recipe or the defaults, nested as in a run's YAML or with dotted keys, such
                as {"method": {"kind": "adapter-x"}, "optim.lr": 0.001}
            recipe: the name of a ready-made run to start from, such as demo; empty for the defaults
            name: what the run is called; empty for a name made of method and data

        Returns:
            id, name, state, and the run's place in the queue
        """
        content = read_inherited(find_recipe(recipe).path) if recipe else {}
        config = parse_config(amend(content, settings), "The run")
        self.check(config)
        check_files(config)
        return _told(self.runs.create(config, name=name.strip()[:120] or None))

    def status(self, run_id: str) -> dict[str, Any]:
        """Return how a run stands.

        Args:
            run_id: the run's id, as `submit` returned it

        Returns:
            id, name, state (queued, running, succeeded, failed or cancelled), position in the queue, progress (stage,
            epoch, step, eta_seconds and more), error (kind, message) of a failed run, result of a finished one
        """
        return _told(self.runs.get(run_id))

    def events(self, run_id: str, after: str = "0") -> dict[str, Any]:
        """Return what a run has said since an earlier call: its curves, scores and routing, one object an event.

        Args:
            run_id: the run's id
            after: the cursor of the call before; "0" for all from the beginning

        Returns:
            events, oldest first; cursor for the next call; state of the run
        """
        run = self.runs.get(run_id)
        events, cursor = self.runs.events(run_id, after)
        return {"events": events, "cursor": cursor, "state": run.state}

    def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancel a queued or running run and return how it stands.

        Args:
            run_id: the run's id

        Returns:
            as `status`
        """
        return _told(self.runs.cancel(run_id))

    def predict(self, adapter: str, points: list[list[float]]) -> dict[str, Any]:
        """Say what an adapter sees in a point cloud.

        Args:
            adapter: the id of a finished run
            points: x, y, z of each point, in any unit

        Returns:
            label, and probabilities of all classes by name
        """
        predictor = self.load(adapter)
        require_modality("points.xyz", predictor.modality)
        try:
            cloud = np.array(points, dtype=np.float32)
        except ValueError as error:
            raise UserError("points is not a list of [x, y, z]", got=str(error)) from error
        if cloud.ndim != 2 or cloud.shape[1] != 3:
            raise UserError("points is not a list of [x, y, z]", got=f"an array of shape {cloud.shape}")
        return _answer(predictor, predictor.predict([cloud], names=["points"])[0])

    def predict_file(self, adapter: str, filename: str, content: str) -> dict[str, Any]:
        """Say what an adapter sees in a file: a mesh, a cloud or an image.

        Args:
            adapter: the id of a finished run
            filename: the file's name; its ending says what it is, such as chair.ply
            content: the file's bytes in base64

        Returns:
            label, and probabilities of all classes by name
        """
        predictor = self.load(adapter)
        require_modality(Path(filename).name, predictor.modality)
        if len(content) * 3 // 4 > LARGEST:
            raise UserError("The file is too large", got=f"{len(content) * 3 // 4:,} bytes", expected=f"{LARGEST:,}")
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UserError("content is not base64", got=str(error)) from error
        with tempfile.TemporaryDirectory(prefix="pointsmith-api-") as folder:
            path = Path(folder) / f"input{Path(filename).suffix.lower()[:8]}"
            path.write_bytes(data)
            if predictor.modality == "images":
                return _answer(predictor, predictor.predict([read_untrusted_image(path)], names=[filename])[0])
            return _answer(predictor, predictor.predict([read_untrusted(path, MESH_POINTS, 0)], names=[filename])[0])


def _told(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "position": run.position,
        "progress": run.progress,
        "error": {key: run.error.get(key) for key in ("kind", "message")} if run.error else None,
        "result": run.result,
    }


def _answer(predictor: Predictor, prediction: Prediction) -> dict[str, Any]:
    shares = {name: round(float(share), 6) for name, share in zip(predictor.classes, prediction.probabilities)}
    return {"label": prediction.label, "probabilities": shares}
