"""Clouds without labels, for pre-training: from the generator, or every readable file below a folder."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Annotated, Literal, Union

import numpy as np
from pydantic import Field

from ..errors import UserError
from ..schema import Config
from .clouds import normalize, resize
from .files import EXTENSIONS, read_points
from .procedural import make_unlabelled


class GeneratedShapes(Config):
    """Endless shapes of the built-in generator: everyday objects and random compositions, seen like scans."""

    kind: Literal["generated"] = "generated"
    count: int = Field(default=20000, ge=2, description="clouds to make; they are made once and kept in memory")
    seed: int = Field(default=0, ge=0, description="seed of the generator")


class UnlabelledFolder(Config):
    """Every mesh and cloud below a folder; sub-folders and names mean nothing here."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder")
    seed: int = Field(default=0, ge=0, description="seed of sampling points from meshes")


UnlabelledData = Annotated[Union[GeneratedShapes, UnlabelledFolder], Field(discriminator="kind")]


def load_unlabelled(config: GeneratedShapes | UnlabelledFolder, points: int) -> tuple[np.ndarray, list[str]]:
    """Return (clouds (S, points, 3) float32 in the unit sphere, notes on files that were skipped)."""
    if isinstance(config, UnlabelledFolder):
        return _from_folder(config.path.expanduser(), points, config.seed)
    return generate(config.count, points, config.seed), []


def generate(count: int, points: int, seed: int, chunk: int = 500) -> np.ndarray:
    """Return generated clouds, made on all cores; the result does not depend on how many there are."""
    starts = range(0, count, chunk)
    make = partial(_make, count=count, points=points, seed=seed, chunk=chunk)
    if count <= chunk:
        return make(0)
    with ProcessPoolExecutor(cpu_count() or 1, mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(make, starts)))


def _make(start: int, *, count: int, points: int, seed: int, chunk: int) -> np.ndarray:
    return make_unlabelled(min(chunk, count - start), points, seed, start=start)


def _from_folder(folder: Path, points: int, seed: int) -> tuple[np.ndarray, list[str]]:
    if not folder.is_dir():
        raise UserError("No such folder", got=str(folder))
    clouds: list[np.ndarray] = []
    notes: list[str] = []
    for i, path in enumerate(sorted(p for p in folder.rglob("*") if p.suffix[1:].lower() in EXTENSIONS)):
        rng = np.random.default_rng([seed, i])
        try:
            clouds.append(normalize(resize(read_points(path, count=points, rng=rng), points, rng), "unit-sphere"))
        except UserError as error:
            notes.append(f"Skipped {path.relative_to(folder)}: {error}")
    if len(clouds) < 2:
        raise UserError(f"{folder} has too few readable clouds", got=len(clouds), expected="at least 2")
    return np.stack(clouds), notes
