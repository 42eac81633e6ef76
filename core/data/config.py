"""Which data set a run uses. The union below is the registry: a data set is one class here and one reader beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import Field

from ..schema import Config
from .clouds import Preparation


class _Common(Config):
    preparation: Preparation = Preparation()
    validation: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="share of the training clouds held out, stratified and seeded, to choose the best epoch",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of that split and of sampling points from meshes")


class DemoData(_Common):
    """Everyday objects made by the built-in seeded generator, seen like scans; 15 classes; needs no file."""

    kind: Literal["demo"] = "demo"
    train_per_class: int = Field(default=40, ge=2, le=2000, description="generated training clouds of each class")
    test_per_class: int = Field(default=20, ge=1, le=2000, description="generated test clouds of each class")
    seed: int = Field(default=0, ge=0, description="seed of the generator")
    scan: Literal["clean", "gentle", "hard"] = Field(
        default="gentle",
        description="how much of a real scan's faults: clean: whole objects; gentle: some one-sided views, small gaps, "
        "a little noise; hard: half of them one-sided, larger gaps, background",
    )


class FolderData(_Common):
    """A folder or zip with one sub-folder per class of meshes or clouds, optionally under `train/` and `test/`."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder or .zip file")
    test_share: float = Field(
        default=0.2,
        ge=0.0,
        le=0.8,
        description="share of each class kept for the test where the folder has no test/ part",
    )


class H5Data(_Common):
    """HDF5 files in ScanObjectNN's layout: `data` (S, N, 3) and `label` (S,), optionally `name`."""

    kind: Literal["h5"] = "h5"
    train: Path = Field(description="HDF5 file with the training clouds")
    test: Path | None = Field(default=None, description="HDF5 file with the test clouds")
    classes: Path | None = Field(default=None, description="text file with one class name a line, in label order")


DataConfig = Annotated[Union[DemoData, FolderData, H5Data], Field(discriminator="kind")]
