"""A loaded adapter that answers: clouds or images in, labels with probabilities out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .adapters import Adapter, AdapterConfig
from .data.clouds import Preparation, check_cloud, normalize, upright
from .data.feed import to_input
from .data.part_clouds import first_parts, prepared
from .data.picture import ImagePreparation, as_rgb, fit, image_of, read_image
from .errors import UserError
from .fast.accelerate import accelerate
from .models.grouping import farthest_points
from .peft.part_model import TunedForParts
from .training.device import pick_device

Picture = Image.Image | np.ndarray | Path | str
"""An image: Pillow's, an array of uint8 (H, W), (H, W, 3) or (H, W, 4), or the path of a file."""

_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What an adapter says of one input; arrays over classes (C,).

    `inputs` is what the model saw: points (N, 3), or the square (H, W, 3) uint8 of an image. Of a cloud `patch` (N,)
    is the nearest patch centre of each point, and `total_points` what the cloud had; of an image None and 0.
    """

    label: str
    probabilities: np.ndarray
    logits: np.ndarray
    inputs: np.ndarray
    patch: np.ndarray | None = None
    total_points: int = 0

    @property
    def points(self) -> np.ndarray:
        """The points (N, 3) that the model saw of a cloud."""
        if self.patch is None:
            raise UserError("This prediction is of an image, which has no points", remedy="Read `inputs`")
        return self.inputs

    def top(self, classes: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
        """Return the `count` most probable (class, probability), best first."""
        best: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return [(classes[i], float(self.probabilities[i])) for i in best]


@dataclass(frozen=True)
class Segmentation:
    """What an adapter says of every point (N) of one cloud of a known category, which has K parts.

    `parts` (N,) counts from 0 through `part_names`; `probabilities` (N, K) are over this category's parts; `logits`
    (N, P) are log-probabilities over the parts of all categories, as the published model answers. `points` (N, 3) are
    the cloud's own, normalised, in their order; the backbone saw `seen` of them. `patch` (N,) is the nearest centre.
    """

    category: str
    part_names: tuple[str, ...]
    parts: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    points: np.ndarray
    patch: np.ndarray
    seen: int


def prepare(points: np.ndarray, preparation: Preparation, least: int, name: str = "The cloud") -> np.ndarray:
    """Return the model's input of a raw cloud: checked, the farthest `preparation.points` of it, normalised."""
    points = check_cloud(points, name, least)
    if len(points) > preparation.points:
        chosen = farthest_points(torch.tensor(points)[None], preparation.points)[0].numpy()
        points = points[chosen]
    return normalize(upright(points, preparation.up), preparation.normalize)


class Predictor:
    """An adapter on a device. Calls from several threads wait for each other."""

    def __init__(self, adapter: Adapter, device: str = "cpu") -> None:
        self.device = pick_device(device)
        self.config: AdapterConfig = adapter.config
        self.model = adapter.built.model.to(self.device).eval()
        if self.config.run.fast:
            accelerate(self.model, "float32", self.device)
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls, place: str | Path, *, device: str = "cpu", backbone_weights: str | None = None, untrusted: bool = False
    ) -> Predictor:
        """Load an adapter: a folder, or `owner/name[@revision]` on the Hub. UserError says what does not fit.

        What was pulled from the Hub, or is `untrusted`, is checked before it is loaded, see `adapter_gate`.
        """
        from .hub.pull import open_adapter

        return cls(open_adapter(place, backbone_weights=backbone_weights, untrusted=untrusted), device)

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep other threads out of the model for a while, such as while its insides are watched."""
        with self._lock:
            yield

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    @property
    def modality(self) -> Literal["points", "images"]:
        """What it reads."""
        return self.config.run.backbone.modality

    def predict(
        self, inputs: Sequence[Picture], *, raw: bool = False, names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return a prediction for each input: clouds (N, 3), or for an adapter of images pictures.

        `raw` takes the input as it is: points without preparation, or squares of the model's size. UserError names
        the input that is of the wrong kind, has NaN, or fewer points than the backbone needs.
        """
        one = "cloud" if self.modality == "points" else "image"
        if self.answers == "parts":
            raise UserError("This adapter tells the parts of a cloud, not its class", remedy="Call `segment`")
        names = names or [_name(given, f"{one} {i + 1}") for i, given in enumerate(inputs)]
        preparation = self.config.preparation
        if isinstance(preparation, ImagePreparation):
            squares = [_square(given, preparation, raw, name) for given, name in zip(inputs, names)]
            return self._in_batches(squares, lambda chosen: self._of_images([squares[i] for i in chosen], preparation))
        least = self.config.run.backbone.least_points
        clouds = [_cloud(given, name) for given, name in zip(inputs, names)]
        ready = [
            check_cloud(cloud, name, least) if raw else prepare(cloud, preparation, least, name)
            for cloud, name in zip(clouds, names)
        ]
        return self._in_batches(
            ready, lambda chosen: self._of_clouds([ready[i] for i in chosen], [len(clouds[i]) for i in chosen])
        )

    @property
    def answers(self) -> Literal["classes", "parts"]:
        """What it says: the class of each input, or the part of each point."""
        return self.config.run.data.answers

    def segment(
        self, clouds: Sequence[np.ndarray], category: str, *, raw: bool = False, names: Sequence[str] | None = None
    ) -> list[Segmentation]:
        """Return the part of every point of clouds (N, 3) that are all of one category.

        Where a cloud has more points than the adapter was trained with, the backbone sees the farthest of them and all
        are answered. `raw` takes it as it is. UserError for an unknown category, and as `predict`.
        """
        if self.answers != "parts":
            raise UserError("This adapter tells the class of a cloud, not its parts", remedy="Call `predict`")
        if category not in self.classes:
            raise UserError("Unknown category", got=category, expected=f"one of {', '.join(self.classes)}")
        names = names or [f"cloud {i + 1}" for i in range(len(clouds))]
        least, number = self.config.run.backbone.least_points, self.classes.index(category)
        found: list[Segmentation] = []
        for given, name in zip(clouds, names):
            points = check_cloud(_cloud(given, name), name, least)
            found.append(self._segmented(points, number, raw))
        return found

    def _segmented(self, points: np.ndarray, category: int, raw: bool) -> Segmentation:
        model, preparation = self.model, self.config.preparation
        assert isinstance(model, TunedForParts) and isinstance(preparation, Preparation)
        points = points if raw else prepared(points, preparation)
        asked = torch.from_numpy(points)
        seen = asked
        if not raw and len(points) > preparation.points:
            seen = asked[farthest_points(asked[None], preparation.points)[0]]
        with self._lock:
            logits, centres = model.segment(
                seen.to(self.device), asked.to(self.device), torch.tensor([category], device=self.device)
            )
        names = self.config.part_names[category]
        first = first_parts(self.config.part_names)[category]
        own = logits[:, first : first + len(names)].softmax(dim=1).numpy()
        return Segmentation(
            category=self.classes[category],
            part_names=names,
            parts=own.argmax(axis=1),
            probabilities=own,
            logits=logits.log_softmax(dim=1).numpy(),
            points=points,
            patch=torch.cdist(asked, centres.cpu()).argmin(dim=1).numpy(),
            seen=len(seen),
        )

    def _in_batches(self, ready: list[np.ndarray], answer: Callable[[list[int]], list[Prediction]]) -> list[Prediction]:
        """Return the answers in the order of `ready`; those of one size share batches."""
        answers: dict[int, Prediction] = {}
        for size in sorted({len(one) for one in ready}):
            chosen = [i for i, one in enumerate(ready) if len(one) == size]
            for start in range(0, len(chosen), _BATCH):
                part = chosen[start : start + _BATCH]
                answers |= zip(part, answer(part))
        return [answers[i] for i in range(len(ready))]

    @torch.inference_mode()
    def _of_clouds(self, clouds: list[np.ndarray], totals: list[int]) -> list[Prediction]:
        points = torch.from_numpy(np.stack(clouds)).to(self.device)
        logits, centres = self._answer(points)
        nearest = torch.cdist(points, centres).argmin(dim=2).cpu().numpy()
        return [
            self._prediction(logits[i], clouds[i], patch=nearest[i], total_points=totals[i]) for i in range(len(clouds))
        ]

    @torch.inference_mode()
    def _of_images(self, squares: list[np.ndarray], preparation: ImagePreparation) -> list[Prediction]:
        pixels = torch.from_numpy(np.stack(squares)).to(self.device)
        logits, _ = self._answer(to_input(pixels, preparation))
        return [self._prediction(logits[i], squares[i]) for i in range(len(squares))]

    def _answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return (logits (B, C) float32 on the CPU, centres of the patches (B, G, 3))."""
        with self._lock:
            tokens, centres = self.model.trunk.places(batch)
            return self.model.head(tokens, self.model.trunk.num_patches).float().cpu(), centres

    def _prediction(
        self, logits: Tensor, inputs: np.ndarray, *, patch: np.ndarray | None = None, total_points: int = 0
    ) -> Prediction:
        label = self.classes[int(logits.argmax())]
        return Prediction(label, logits.softmax(0).numpy(), logits.numpy(), inputs, patch, total_points)


def _name(given: Picture, otherwise: str) -> str:
    return str(given) if isinstance(given, (str, Path)) else otherwise


def _cloud(given: Picture, name: str) -> np.ndarray:
    if isinstance(given, (str, Path, Image.Image)):
        raise UserError(
            f"{name} is not a point cloud, and this adapter reads points",
            got=type(given).__name__,
            expected="an array of shape (N, 3)",
            remedy="Give it clouds, or choose an adapter trained on images",
        )
    return given


def _square(given: Picture, preparation: ImagePreparation, raw: bool, name: str) -> np.ndarray:
    """Return the square (H, W, 3) uint8 that the model sees of a picture. UserError for what is none."""
    if isinstance(given, (str, Path)):
        image = read_image(Path(given), name)
    elif isinstance(given, Image.Image):
        image = as_rgb(ImageOps.exif_transpose(given), name)
    else:
        image = image_of(given, name)
    size = preparation.size
    if raw and image.size != (size, size):
        raise UserError(
            f"{name} is not of the model's size", got=f"{image.width} × {image.height}", expected=f"{size} × {size}"
        )
    return np.array(image) if raw else fit(image, preparation)
