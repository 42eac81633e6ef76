"""What a run would cost and risk, before it starts: sizes counted on the model itself, warnings from the config."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.building import Sizes, measure
from ..core.config import RunConfig
from ..core.data.config import (
    VTAB_CLASSES,
    BenchmarkData,
    DemoData,
    FewShotData,
    FolderData,
    H5Data,
    ImagesData,
    ModelNet40Data,
    PartFolderData,
    ScanObjectNNData,
    ShapeNetPartData,
    VtabData,
)
from ..core.data.names import MODELNET10, MODELNET40, SCANOBJECTNN, SHAPENETPART
from ..core.data.part_folder import NAMES, given_names
from ..core.data.scanobjectnn import PUBLISHED_SIZES
from ..core.errors import UserError
from ..core.models.load import source_of
from ..core.models.weight_files import address_of, find, place_of, published

if TYPE_CHECKING:
    from ..worker.own_runs import OwnRuns
    from ..worker.store import RunStore

_GUESS = 15
_PARTS_EACH = 3


def sizes(config: RunConfig) -> tuple[Sizes, int, bool]:
    """Return the sizes of a run's model, for how many classes, and whether their number was only assumed."""
    classes = count_classes(config)
    parts = (count_parts(config) or _PARTS_EACH * (classes or _GUESS)) if config.data.answers == "parts" else 0
    return measure(config, classes or _GUESS, parts), classes or _GUESS, classes is None


def count_classes(config: RunConfig) -> int | None:
    """Return how many classes the data has, where a glance tells; None where it must be read first."""
    data = config.data
    if isinstance(data, DemoData):
        from ..core.data.procedural import CLASSES

        return len(CLASSES)
    if isinstance(data, VtabData):
        return VTAB_CLASSES[data.task]
    if isinstance(data, ScanObjectNNData):
        return len(SCANOBJECTNN)
    if isinstance(data, ModelNet40Data):
        return len(MODELNET40 if data.subset == "modelnet40" else MODELNET10)
    if isinstance(data, FewShotData):
        return data.way
    if isinstance(data, ShapeNetPartData):
        return len(SHAPENETPART)
    if isinstance(data, (FolderData, ImagesData, PartFolderData)) and data.path.expanduser().is_dir():
        inner = [one.name for one in data.path.expanduser().iterdir() if one.is_dir() and not one.name.startswith(".")]
        if len(inner) > 1 and not {"train", "test"} & {name.lower() for name in inner}:
            return len(inner)
    return None


def count_parts(config: RunConfig) -> int | None:
    """Return how many parts all classes together have, where a glance tells; None where the points must be read."""
    data = config.data
    if isinstance(data, ShapeNetPartData):
        return sum(SHAPENETPART.values())
    if isinstance(data, PartFolderData):
        try:
            return sum(map(len, given_names(data.path.expanduser() / NAMES).values())) or None
        except (UserError, OSError):
            return None  # said when the run reads it
    return None


def check_files(config: RunConfig) -> None:
    """Refuse a run whose files are not there, before it is queued. UserError names the file."""
    data = config.data
    named: list[tuple[str, Path]] = []
    if isinstance(data, (FolderData, VtabData, PartFolderData, ShapeNetPartData)):
        named = [("The data set", data.path)]
    elif isinstance(data, BenchmarkData):
        path = getattr(data.base_data() if isinstance(data, FewShotData) and data.base else data, "path", None)
        named = [("The data set", path)] if path is not None else []
    elif isinstance(data, ImagesData):
        named = [("The data set", data.path), ("The list of test images", data.test), ("The class names", data.classes)]
        named = [(what, path) for what, path in named if path is not None]
    elif isinstance(data, H5Data):
        named = [("The training file", data.train), ("The test file", data.test), ("The class names", data.classes)]
        named = [(what, path) for what, path in named if path is not None]
    weights = config.backbone.weights
    if weights not in ("pretrained", "random", "included"):
        named.append(("The weight file", Path(weights)))
    for what, path in named:
        if not path.expanduser().exists():
            raise UserError(f"{what} does not exist", got=str(path), remedy="Check the path")
    if isinstance(data, (FolderData, ImagesData)):
        path = data.path.expanduser()
        is_list = isinstance(data, ImagesData) and path.suffix.lower() in (".csv", ".txt")
        if path.is_file() and not is_list and not zipfile.is_zipfile(path):
            raise UserError("The data set is neither a folder nor a zip file", got=str(data.path))


def warnings(config: RunConfig) -> list[str]:
    """Return what a careful colleague would say about this run."""
    said: list[str] = []
    if config.select == "test":
        said.append(
            "The best epoch is chosen on the test set, as the papers do: the reported test accuracy is optimistic."
        )
    if config.select == "last":
        said.append("The last epoch is kept, whatever the validation clouds say.")
    if config.backbone.weights == "random" and config.method.kind != "full":
        said.append("The backbone has random weights: an adapter on it learns little. Use pre-trained weights.")
    if config.unused:
        said.append(config.unused[0].upper() + config.unused[1:])
    if config.batch_size < 8:
        said.append("Batch norm in the head is noisy with fewer than 8 clouds a step.")
    found = _counts(config)
    if found is not None and found[0] < config.batch_size:
        said.append(f"There are fewer than {config.batch_size} inputs to learn from: each step sees all of them.")
    if config.optim.schedule != "constant" and config.optim.warmup_epochs >= config.epochs:
        said.append("The warm-up is as long as the training: the learning rate never reaches its peak.")
    return said


def amounts(config: RunConfig) -> list[tuple[str, str]]:
    """Return how much there is to learn from, in how many steps, as facts; empty where the data must be read first."""
    found = _counts(config)
    if found is None:
        return []
    train, test, exact = found
    noun = "images" if config.data.modality == "images" else "clouds"
    about = "" if exact else "≈ "
    steps = max(1, train // min(config.batch_size, train)) * config.epochs
    tested = f" + {test:,} to test" if test else ""
    return [("Learns from", f"{about}{train:,} {noun}{tested}"), ("Steps", f"{about}{steps:,}")]


def _counts(config: RunConfig) -> tuple[int, int | None, bool] | None:
    """Return (training inputs without those held out, test inputs or None, whether that is exact), where known."""
    data = config.data
    if isinstance(data, DemoData):
        return (count_classes(config) or 0) * _kept(data.train_per_class, data.validation), _tests(config), True
    if isinstance(data, FewShotData):
        return data.way * _kept(data.shot, data.validation), _tests(config), True
    if isinstance(data, VtabData):
        return 800 if data.tune else 1000, None, True
    if isinstance(data, ScanObjectNNData):
        train, test = PUBLISHED_SIZES[data.variant]
        return round(train * (1 - data.validation)), test, not data.validation
    return None


def _tests(config: RunConfig) -> int | None:
    data = config.data
    if isinstance(data, DemoData):
        return (count_classes(config) or 0) * data.test_per_class
    return data.way * data.queries if isinstance(data, FewShotData) and data.base else None


def _kept(count: int, share: float) -> int:
    """How many of a class's inputs are left when a share is held out, as `core.data.split` does it."""
    return count - (min(max(1, round(share * count)), count - 1) if share else 0)


def workers_told(store: RunStore | OwnRuns | None) -> list[str]:
    """Return what is to be said of the workers that are to train it; nothing where that is not known."""
    try:
        workers = store.workers() if store is not None else None
    except UserError:
        return []
    if workers is None or workers:
        return []
    return ["No worker is running: the run will wait. Start one with `pointsmith worker`."]


def weights_told(config: RunConfig) -> list[str]:
    """Return where the backbone's published weights will come from, unless they are here."""
    backbone = config.backbone
    source = source_of(backbone)
    if backbone.weights != "pretrained" or not published(source) or find(backbone.kind, source):
        return []
    if source.repository or source.url:
        return [f"The weights are not on this machine yet: the run fetches them first, once ({address_of(source)})."]
    place = place_of(backbone.kind, source)
    return [f"The weights have to be put here by hand: {place.name} into {place.parent}, from {source.homepage}."]
