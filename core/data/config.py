"""Which data set a run uses. The union below is the registry: a data set is one class here and one reader beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from typing_extensions import Self

from ..bounded_text import read_yaml
from ..errors import UserError
from ..schema import Config, explain, is_mapping
from .clouds import Preparation
from .picture import ImageAugment, ImagePreparation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .augment import AugmentConfig

# PyTorch and what needs it are imported where batches are made: a process that only parses files does without.


class PointData(Config):
    """Base of every data set of clouds."""

    modality: ClassVar[Literal["points", "images"]] = "points"
    answers: ClassVar[Literal["classes", "parts"]] = "classes"

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
        """Return training clouds (B, N, 3) with their points in random order, changed as `config` says.

        `inputs` may be overwritten.
        """
        from .augment import augment, permute_points

        drawn = permute_points(inputs, self.preparation.points, generator, own=True)
        return augment(drawn, config, generator, own=True)


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


class CopyRepairs(Config):
    """What is mended while a data set is read; nothing, unless asked. `pointsmith inspect` finds what to ask for."""

    copies: Literal["keep", "across", "all"] = Field(
        default="keep",
        description="identical inputs: keep them; across: leave out those of which a copy is in the test part, or in a "
        "given validation part; all: also leave out all but the first within a part",
    )
    resplit: float | None = Field(
        default=None,
        ge=0.0,
        le=0.8,
        description="put all parts together and hold out this share of each class for the test, by the split's seed; "
        "none: the parts stay as they are",
    )


class Repairs(CopyRepairs):
    """The same for clouds."""

    drop_bad: bool = Field(
        default=False,
        description="leave out clouds whose points lie in one place, and those of HDF5 files that have NaN, for which "
        "the whole file is refused otherwise",
    )


class FolderData(PointData):
    """A folder or zip with one sub-folder per class of meshes or clouds, optionally under `train/` and `test/`.

    Or a list: a .csv with `file,label`, or `file,label,split`, in each line; files lie relative to it.
    """

    kind: Literal["folder"] = "folder"
    path: Path = Field(description="the folder, .zip file, or list of files (.csv)")
    repair: Repairs = Repairs()
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
    repair: Repairs = Repairs()


class BenchmarkData(PointData):
    """Base of the benchmarks, whose files hold more points than a model sees; how clouds are thinned is a protocol."""

    sampling: Literal["farthest", "farthest-anew", "random"] = Field(
        default="farthest",
        description="how points are chosen of clouds that have more than needed: farthest: the farthest (for training "
        "1,200 for 1,024, chosen once, of which each step draws); farthest-anew: chosen again at every step from "
        "another first point, as the published code does, which takes more time and memory; random: any",
    )

    @property
    def pool(self) -> int:
        """How many farthest points of a training cloud the published code draws the model's points from."""
        return self.preparation.points * 75 // 64  # 1,200 for 1,024, 2,400 for 2,048, 4,800 for 4,096

    def vary(self, inputs: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Return training clouds (B, N, 3) thinned to the model's points, changed as `config` says."""
        if self.sampling == "farthest-anew" and inputs.shape[1] > self.pool:
            from ..models.grouping import farthest_points
            from .augment import permute_points

            inputs = permute_points(inputs, inputs.shape[1], generator, own=True)
            chosen = farthest_points(inputs, self.pool, skip_origin=True)
            inputs = inputs.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
        return super().vary(inputs, config, generator)


class ScanObjectNNData(BenchmarkData):
    """ScanObjectNN: 15 classes of objects cut from scans of rooms; three variants; coordinates as they are."""

    kind: Literal["scanobjectnn"] = "scanobjectnn"
    variant: Literal["objbg", "objonly", "hardest"] = Field(
        default="hardest",
        description="objbg: with background (OBJ_BG); objonly: without (OBJ_ONLY); hardest: moved, turned and scaled "
        "(PB_T50_RS)",
    )
    source: Literal["disk", "hub"] = Field(
        default="disk", description="disk: the official HDF5 files; hub: the data set jxie/scanobjectnn of the Hub"
    )
    path: Path | None = Field(
        default=None,
        description="the folder h5_files, or a folder or .zip that holds it; for the hub a local copy of the data set",
    )
    revision: str | None = Field(default=None, description="commit or tag of the Hub's data set; none: the newest")
    preparation: Preparation = Preparation(points=2048, normalize="none")

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.source == "disk" and self.path is None:
            raise UserError(
                "data.path is missing",
                expected="the folder h5_files of ScanObjectNN",
                remedy="Add it, or set data.source to hub",
            )
        return self


class HubData(BenchmarkData):
    """Labelled clouds in any parquet data set of the Hub, or in a local copy of one: a column of lists of points."""

    kind: Literal["hub"] = "hub"
    repository: str = Field(description="owner/name on the Hub, or the folder of a local copy")
    revision: str | None = Field(default=None, description="commit or tag; none: the newest, which is noted")
    train: str = Field(default="train", description="its split of training clouds")
    test: str | None = Field(default=None, description="its split of test clouds")
    inputs: str | None = Field(default=None, description="column of the points; none: found by its content")
    label: str | None = Field(default=None, description="column of the labels; none: found by its name")

    @model_validator(mode="after")
    def _names_a_data_set(self) -> Self:
        local = self.repository.startswith(("/", ".", "~"))
        if not local and not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", self.repository):
            raise UserError(
                "data.repository is no data set of the Hub",
                got=self.repository,
                expected="owner/name, or the path of a folder that begins with / or .",
            )
        return self


class ModelNet40Data(BenchmarkData):
    """ModelNet40: 40 classes of CAD models, from whichever of its four releases lies in the folder."""

    kind: Literal["modelnet40"] = "modelnet40"
    path: Path = Field(
        description="folder or .zip with the .dat caches, the HDF5 files, modelnet40_normal_resampled, or .off meshes"
    )
    layout: Literal["auto", "dat", "h5", "txt", "off"] = Field(
        default="auto", description="which release is read where several lie together; auto: the first of this list"
    )
    subset: Literal["modelnet40", "modelnet10"] = Field(
        default="modelnet40", description="all 40 classes, or the ten of ModelNet10"
    )


class FewShotData(BenchmarkData):
    """Few-shot folds: N classes with K training clouds each, published or drawn from any labelled clouds."""

    kind: Literal["fewshot"] = "fewshot"
    way: int = Field(default=5, ge=2, le=1000, description="classes of a fold (N)")
    shot: int = Field(default=10, ge=1, le=1000, description="training clouds of each class (K)")
    fold: int = Field(default=0, ge=0, le=999, description="number of the fold; 0 to 9 are published")
    path: Path | None = Field(
        default=None, description="folder or .zip of the published folds (5way_10shot/0.pkl …); none: drawn from base"
    )
    base: str = Field(
        default="",
        description="the data that folds are drawn from, as YAML: {kind: modelnet40, path: modelnet40_dat}",
    )
    queries: int = Field(default=20, ge=1, le=1000, description="test clouds of each class in a drawn fold")
    fold_seed: int = Field(default=0, ge=0, description="seed of drawing folds from base")
    validation: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="share of the few training clouds held out to choose the best epoch; 0, as published: none",
    )

    @field_validator("base", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        """A mapping, as a file or `--set` has it, becomes one line of YAML."""
        if isinstance(given, str):
            read: Any = read_yaml(given, name="data.base")
            # A path or a kind with a stray bracket stays what it is, and is refused by name below.
            given = read if is_mapping(read) else given.strip()
        return yaml.safe_dump(given, default_flow_style=True, width=10**6).strip() if is_mapping(given) else given

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.path is None) == (not self.base):
            raise UserError(
                "Few-shot folds need either data.path, the published folds, or data.base, the data to draw them from",
                got="both" if self.base else "neither",
            )
        if self.base:
            self.base_data()
        return self

    def base_data(self) -> BaseData:
        """Return the data set that folds are drawn from, prepared as this one and undivided. UserError."""
        content: Any = read_yaml(self.base, name="data.base")
        if not is_mapping(content):
            raise UserError(
                "data.base does not describe a data set", got=self.base, expected="{kind: …, path: …}, as YAML"
            )
        settled = {"preparation": self.preparation.model_dump(), "validation": 0.0}
        try:
            return TypeAdapter[BaseData](BaseData).validate_python({**content, **settled})
        except ValidationError as error:
            raise explain(error, "data.base") from error

    def with_base_paths(self, change: Callable[[Path], Path]) -> Self:
        """Return this with each path inside `base` changed."""
        if not self.base:
            return self
        changed = {name: str(change(value)) for name, value in self.base_data() if isinstance(value, Path)}
        content: dict[str, Any] = read_yaml(self.base, name="data.base")
        return type(self).model_validate({**self.model_dump(), "base": {**content, **changed}})


BaseData = Annotated[
    Union[DemoData, FolderData, H5Data, ScanObjectNNData, ModelNet40Data, HubData],
    Field(discriminator="kind"),
]
"""What few-shot folds can be drawn from: labelled clouds."""


class PartData(PointData):
    """Base of the data sets whose points are labelled with parts; clouds (B, N, 4) carry the label beside x, y, z."""

    answers: ClassVar[Literal["classes", "parts"]] = "parts"

    preparation: Preparation = Preparation(points=2048)
    sampling: Literal["repeating", "distinct"] = Field(
        default="repeating",
        description="how a step draws the model's points from a training cloud: repeating: one by one, so that some "
        "come twice, as the published code; distinct: none twice, as far as the cloud has enough",
    )

    def vary(self, inputs: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Return training clouds (B, N, 4), points drawn with their labels, places changed as `config` says."""
        import torch

        from .augment import augment, permute_points

        count, have = self.preparation.points, inputs.shape[1]
        if self.sampling == "repeating" or count > have:
            index = torch.randint(have, (len(inputs), count), generator=generator, device=inputs.device)
            drawn = inputs.gather(1, index.unsqueeze(-1).expand(-1, -1, inputs.shape[2]))
        else:
            drawn = permute_points(inputs, count, generator, own=True)
        return torch.cat([augment(drawn[..., :3], config, generator), drawn[..., 3:]], dim=2)


class ShapeNetPartData(PartData):
    """ShapeNetPart: objects of 16 categories whose points are labelled with 50 parts; the official folder."""

    kind: Literal["shapenetpart"] = "shapenetpart"
    path: Path = Field(description="shapenetcore_partanno_segmentation_benchmark_v0_normal, or a .zip that holds it")
    lists: Literal["train", "trainval"] = Field(
        default="train",
        description="train: learn from the training list, choose the epoch on the validation list; trainval: learn "
        "from both, as published",
    )
    validation: float = Field(
        default=0.0, ge=0.0, le=0.5, description="share of the training clouds held out where `lists` is trainval"
    )

    @property
    def unvalidated(self) -> str:
        if self.lists == "train" or self.validation:
            return ""
        return "data.lists is trainval, so the validation list is trained on"


class PartFolderData(PartData):
    """Your own objects with labelled points: a folder or zip with one sub-folder per category, perhaps under `train/`
    and `test/`.

    A cloud's labels stand in its last column (or one called part or label), or in a file of the same name that ends in
    .seg or .labels, one a line. `parts.json` in the folder may name them: {"chair": ["seat", "leg"]}.
    """

    kind: Literal["parts"] = "parts"
    path: Path = Field(description="the folder or .zip file")
    test_share: float = Field(
        default=0.2, ge=0.0, le=0.8, description="share of each category kept for the test where there is no test/ part"
    )


class ImageData(Config):
    """Base of every data set of images."""

    modality: ClassVar[Literal["points", "images"]] = "images"
    answers: ClassVar[Literal["classes", "parts"]] = "classes"

    preparation: ImagePreparation = ImagePreparation()
    augment: ImageAugment = Field(
        default="none",
        description="random changes of the training images: none, as on VTAB-1k; flip: mirror half of them; crop-flip: "
        "also move each by up to an eighth",
    )

    def vary(self, inputs: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
        """Return training images (B, 3, H, W), changed as `augment` says; `config` is for clouds."""
        from .augment import augment_images

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
    repair: CopyRepairs = CopyRepairs()
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
    Union[
        DemoData,
        FolderData,
        H5Data,
        ScanObjectNNData,
        ModelNet40Data,
        HubData,
        FewShotData,
        PartFolderData,
        ShapeNetPartData,
        ImagesData,
        VtabData,
    ],
    Field(discriminator="kind"),
]


def with_paths(data: DataConfig, change: Callable[[Path], Path]) -> DataConfig:
    """Return `data` with each of its paths changed, those of the data behind a few-shot fold too."""
    paths = {name: change(value) for name, value in data if isinstance(value, Path)}
    found = data.model_copy(update=paths) if paths else data
    return found.with_base_paths(change) if isinstance(found, FewShotData) else found
