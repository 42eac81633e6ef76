"""Which data set a run uses. The union below is the registry: a data set is one class here and one reader beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Union

import torch
from pydantic import Field
from torch import Tensor

from ..schema import Config
from .augment import AugmentConfig, ImageAugment, augment, augment_images, permute_points
from .clouds import Preparation
from .picture import ImagePreparation


class PointData(Config):
    """Base of every data set of clouds."""

    modality: ClassVar[Literal["points", "images"]] = "points"

    preparation: Preparation = Preparation()
    validation: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="share of the training clouds held out, stratified and seeded, to choose the best epoch",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of that split and of sampling points from meshes")

    @property
    def unvalidated(self) -> str:
        """Which setting leaves nothing to choose the best epoch on; empty where something is held out."""
        return "" if self.validation else "data.validation is 0"

    def vary(self, inputs: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Return training clouds (B, N, 3) with their points in random order, changed as `config` says."""
        return augment(permute_points(inputs, self.preparation.points, generator), config, generator)


class DemoData(PointData):
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


class FolderData(PointData):
    """A folder or zip with one sub-folder per class of meshes or clouds, optionally under `train/` and `test/`."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder or .zip file")
    test_share: float = Field(
        default=0.2,
        ge=0.0,
        le=0.8,
        description="share of each class kept for the test where the folder has no test/ part",
    )


class H5Data(PointData):
    """HDF5 files in ScanObjectNN's layout: `data` (S, N, 3) and `label` (S,), optionally `name`."""

    kind: Literal["h5"] = "h5"
    train: Path = Field(description="HDF5 file with the training clouds")
    test: Path | None = Field(default=None, description="HDF5 file with the test clouds")
    classes: Path | None = Field(default=None, description="text file with one class name a line, in label order")


class ImageData(Config):
    """Base of every data set of images."""

    modality: ClassVar[Literal["points", "images"]] = "images"

    preparation: ImagePreparation = ImagePreparation()
    augment: ImageAugment = Field(
        default="none",
        description="random changes of the training images: none, as on VTAB-1k; flip: mirror half of them; crop-flip: "
        "also move each by up to an eighth",
    )

    def vary(self, inputs: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Return training images (B, 3, H, W), changed as `augment` says; `config` is for clouds."""
        return augment_images(inputs, self.augment, generator)


class ImagesData(ImageData):
    """Photographs: a folder or zip with one sub-folder per class, optionally under `train/` and `test/`, or lists.

    A list is a .csv with `file,label` or a .txt with `file label` in each line; files lie relative to it.
    """

    kind: Literal["images"] = "images"
    path: Path = Field(description="the folder, .zip file, or list of the training images (.csv, .txt)")
    test: Path | None = Field(default=None, description="list of the test images, where the path is a list too")
    classes: Path | None = Field(
        default=None, description="text file with one class name a line, where a list's labels are numbers from 0"
    )
    test_share: float = Field(
        default=0.2, ge=0.0, le=0.8, description="share of each class kept for the test where no test part is given"
    )
    validation: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="share of the training images held out, stratified and seeded, to choose the best epoch",
    )
    split_seed: int = Field(default=0, ge=0, description="seed of these splits")

    @property
    def unvalidated(self) -> str:
        """Which setting leaves nothing to choose the best epoch on; empty where something is held out."""
        return "" if self.validation else "data.validation is 0"


VTAB_CLASSES = {
    "caltech101": 102,
    "cifar": 100,
    "dtd": 47,
    "oxford_flowers102": 102,
    "oxford_iiit_pet": 37,
    "patch_camelyon": 2,
    "sun397": 397,
    "svhn": 10,
    "resisc45": 45,
    "eurosat": 10,
    "dmlab": 6,
    "kitti": 4,
    "smallnorb_azi": 18,
    "smallnorb_ele": 9,
    "dsprites_loc": 16,
    "dsprites_ori": 16,
    "clevr_dist": 6,
    "clevr_count": 8,
    "diabetic_retinopathy": 5,
}
"""Classes of each task of VTAB-1k, by the name of its folder."""


class VtabData(ImageData):
    """One task of VTAB-1k as the NOAH authors packed it: 1,000 training images and the task's full test set."""

    kind: Literal["vtab"] = "vtab"
    path: Path = Field(description="the folder vtab-1k, with a folder for each task")
    task: Literal[
        "caltech101",
        "cifar",
        "dtd",
        "oxford_flowers102",
        "oxford_iiit_pet",
        "patch_camelyon",
        "sun397",
        "svhn",
        "resisc45",
        "eurosat",
        "dmlab",
        "kitti",
        "smallnorb_azi",
        "smallnorb_ele",
        "dsprites_loc",
        "dsprites_ori",
        "clevr_dist",
        "clevr_count",
        "diabetic_retinopathy",
    ] = Field(default="cifar", description="which of the nineteen")
    tune: bool = Field(
        default=False,
        description="learn from 800 and choose on the other 200, to tune settings; off: learn from all 1,000, as "
        "results are reported",
    )

    @property
    def unvalidated(self) -> str:
        """Which setting leaves nothing to choose the best epoch on; empty where something is held out."""
        return "" if self.tune else "data.tune is off, so all 1,000 images are trained on"


DataConfig = Annotated[
    Union[DemoData, FolderData, H5Data, ImagesData, VtabData],
    Field(discriminator="kind"),
]
