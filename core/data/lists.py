"""Which files the lists of a data set name, as its reader understands them."""

from __future__ import annotations

from pathlib import Path

from .cloud_list import read_cloud_list
from .config import DataConfig, FewShotData, FolderData, ImagesData
from .images import read_list
from .root import confinement, listed_file


def listed_files(data: DataConfig) -> list[Path]:
    """Return the files that the operator's own lists in a data set's paths name. UserError for a list that is none.

    Lists of strangers are left out: their reader refuses whatever leads out of their folder.
    """
    if isinstance(data, FewShotData):
        return listed_files(data.base_data()) if data.base else []
    if isinstance(data, FolderData):
        path = data.path.expanduser()
        if path.suffix.lower() != ".csv" or not path.is_file() or confinement(path):
            return []
        return [file for part in read_cloud_list(path).values() for files in part.values() for file in files]
    if isinstance(data, ImagesData):
        lists = [path.expanduser() for path in (data.path, data.test) if path is not None]
        lists = [path for path in lists if path.suffix.lower() in (".csv", ".txt") and path.is_file()]
        return [
            listed_file(path.parent, name, path.name)
            for path in lists
            if not confinement(path)
            for name, _ in read_list(path)
        ]
    return []
