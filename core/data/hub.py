"""Clouds in a data set of the Hub (or a local copy of one): Arrow columns become arrays without Python lists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..bounded_text import read_yaml
from ..errors import UserError
from ..schema import is_mapping
from .class_folders import walk
from .dataset import Progress
from .root import inside, require_confined

_AT_ONCE = 256
_TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json"}
"""The reader of `datasets` for each ending of a table."""
_MOST_README = 200_000


def read_split(
    repository: str,
    split: str,
    revision: str | None = None,
    progress: Progress | None = None,
    columns: tuple[str, str] = ("inputs", "label"),
) -> tuple[np.ndarray, np.ndarray]:
    """Return (points (S, N, 3) float32, labels (S,) int64) of one split of `owner/name` or of a folder on disk.

    `columns` are those of the points, a list of [x, y, z, …], and of the labels. What was fetched once stays in the
    cache of `datasets` and needs no network again. Raises UserError for a data set that cannot be had or is of another
    form.
    """
    data = open_split(repository, split, revision)
    inputs, label = columns
    missing = [name for name in columns if name not in data.column_names]
    if missing:
        raise UserError(
            f"{repository} has no column {missing[0]}", got=data.column_names, expected=f"{inputs} and {label}"
        )
    if not len(data):
        raise UserError(f"The split {split} of {repository} is empty")
    labels = np.asarray(data.with_format("numpy", columns=[label])[:][label])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"The column {label} of {repository} does not hold whole numbers", got=str(labels.dtype))
    points: np.ndarray | None = None
    done = 0
    for table in data.with_format("arrow", columns=[inputs]).iter(batch_size=_AT_ONCE):
        part = _clouds(table.column(inputs), f"{split} of {repository}")
        if points is None:
            points = np.empty((len(data), *part.shape[1:]), np.float32)
        if part.shape[1:] != points.shape[1:]:
            raise UserError(
                f"{split} of {repository} has clouds of different sizes",
                got=part.shape[1],
                expected=str(points.shape[1]),
            )
        points[done : done + len(part)] = part
        done += len(part)
        if progress:
            progress(f"reading {split}", done, len(data))
    assert points is not None
    return points, labels.astype(np.int64)


def open_split(repository: str, split: str, revision: str | None) -> Any:
    """Return a split as the `datasets` library has it; UserError where it cannot be had."""
    datasets: Any = import_module("datasets")  # more than a second: only those who read from the Hub pay
    local = repository.startswith(("/", ".", "~")) or Path(repository).is_dir()
    if local and not Path(repository).is_dir():
        raise UserError("The local copy of the data set does not exist", got=repository, remedy="Check the path")
    try:
        if local:
            builder, files = local_tables(Path(repository), split)
            names = [str(file) for file in files]
            return datasets.load_dataset(builder, data_files={split: names}, split=split)
        _check_published_readme(repository, revision)
        return datasets.load_dataset(repository, split=split, revision=revision)
    except UserError:
        raise
    except Exception as error:  # whatever the network, the Hub, the cache and Arrow raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"The split {split} of {repository} cannot be had ({type(error).__name__}: {reason})",
            remedy="Check the path and its files"
            if local
            else "Check the connection, or fetch the data set elsewhere and name its folder as data.path",
        ) from error


def local_tables(folder: Path, split: str) -> tuple[str, list[Path]]:
    """Return (the reader of `datasets`, the files) of one split of a folder laid out as on the Hub.

    `datasets` itself would obey whatever the folder's README says, which may name any file or address. Here the README
    only chooses among the tables below the folder; without one a table belongs to the split whose name it bears.
    UserError where there is none.
    """
    tables = [file for file in walk(folder, lambda name: Path(name).suffix.lower() in _TABLES)]
    for file in tables:
        require_confined(file, file.name)
    readme = folder / "README.md"
    require_confined(readme, readme.name)
    patterns = _named_in_readme(readme, folder, split)
    if patterns is None:
        named = re.compile(rf"(?:^|[/\-._ ]){re.escape(split)}(?:$|[/\-._ ])")
        chosen = [file for file in tables if named.search(file.relative_to(folder).with_suffix("").as_posix())]
    else:
        chosen = [file for file in tables if any(_fits(file.relative_to(folder), pattern) for pattern in patterns)]
    kinds = {_TABLES[file.suffix.lower()] for file in chosen}
    if len(kinds) != 1:
        raise UserError(
            f"The split {split} cannot be had of the folder {folder.name}: it has no tables of its name",
            got=", ".join(file.name for file in tables[:5]) or "no table",
            expected=f"files of one kind such as {split}-00000-of-00001.parquet ({', '.join(sorted(_TABLES))})",
        )
    return kinds.pop(), chosen


def _fits(file: Path, pattern: str) -> bool:
    """Whether a path below the folder is meant by a pattern of a README, in which ** crosses folders."""
    expression = re.escape(pattern.removeprefix("./"))
    for sign, meaning in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
        expression = expression.replace(sign, meaning)
    return re.fullmatch(expression, file.as_posix()) is not None


def _named_in_readme(readme: Path, folder: Path, split: str) -> list[str] | None:
    """Return the patterns that a README's default configuration gives for a split; None where it gives none.

    UserError for a pattern, of any configuration, that leads out of the data set.
    """
    if not readme.is_file():
        return None
    with readme.open("rb") as file:
        head = file.read(_MOST_README).decode("utf-8", "replace")
    front = re.match(r"\ufeff?---\s*\n(.*?)\n---", head, re.DOTALL)
    content = read_yaml(front[1], name="The head of README.md", limit=_MOST_README) if front else None
    configs: Any = content.get("configs") if is_mapping(content) else None
    chosen: list[str] | None = None
    for config in cast("list[Any]", configs) if isinstance(configs, list) else []:
        if not is_mapping(config):
            continue
        patterns = _patterns(config.get("data_files"))
        for pattern in (*(text for texts in patterns.values() for text in texts), str(config.get("data_dir") or "")):
            inside(folder, pattern, "README.md")
        if chosen is None or config.get("default") is True:
            chosen = patterns.get(split)
    return chosen


def _patterns(files: Any) -> dict[str, list[str]]:
    """Return {split: patterns} of each form in which a README may write its `data_files`."""
    if is_mapping(files):
        return {str(split): _texts(path) for split, path in files.items()}
    entries: list[Any] = cast("list[Any]", files) if isinstance(files, list) else [files]
    found: dict[str, list[str]] = {}
    for entry in entries:
        split, path = (entry.get("split"), entry.get("path")) if is_mapping(entry) else ("train", entry)
        found.setdefault(str(split), []).extend(_texts(path))
    return found


def _texts(path: Any) -> list[str]:
    return [str(text) for text in (cast("list[Any]", path) if isinstance(path, list) else [path]) if text is not None]


def _check_published_readme(repository: str, revision: str | None) -> None:
    """Refuse a data set of the Hub whose README names tables elsewhere, on this machine's disk for one. UserError.

    Where the README cannot be had there is no network, and what is in the cache was checked when it came.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        readme = huggingface_hub.hf_hub_download(repository, "README.md", repo_type="dataset", revision=revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
        return
    _named_in_readme(Path(readme), Path("."), "")


def _clouds(column: Any, name: str) -> np.ndarray:
    """Return (B, N, 3) of an Arrow column of lists of [x, y, z] by its flat numbers."""
    compute: Any = import_module("pyarrow.compute")
    flat, sizes = column.combine_chunks(), list[int]()
    while str(flat.type).startswith(("list", "large_list", "fixed_size_list")):
        lengths = compute.list_value_length(flat).unique().to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise UserError(f"{name} does not hold clouds of one size", expected="as many points in each")
        sizes.append(lengths[0])
        flat = flat.flatten()
    if len(sizes) != 2 or sizes[1] < 3 or flat.null_count:
        expected = "a list of N points [x, y, z] each"
        raise UserError(f"{name} does not hold clouds", got=str(column.type), expected=expected)
    numbers = np.asarray(flat.to_numpy(zero_copy_only=False))
    if numbers.dtype.kind not in "fiu":
        raise UserError(f"{name} holds no plain numbers", got=str(column.type))
    return numbers.reshape(-1, sizes[0], sizes[1])[:, :, :3]
