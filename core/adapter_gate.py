"""The gate for adapters of strangers: what did not come from this installation is copied, checked, and only then read.

`checked_copy` is the one entrance. Files are copied without following links, so what was checked is what is loaded.
Sizes are bounded in this order: bytes of the files, header of the tensors, config, and the model that it describes.
"""

from __future__ import annotations

import math
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .adapters import CONFIG_BYTES, CONFIG_NAME, WEIGHTS_NAME, AdapterConfig, read_adapter_config
from .bounded_text import read_json
from .building import measure
from .data.config import with_paths
from .errors import UserError
from .schema import is_mapping

STANDARD_WEIGHTS = ("pretrained", "random", "included")
WEIGHTS_BYTES = 2 << 30
HEADER_BYTES = 8 << 20
MAX_TENSORS = 20_000
MAX_PARAMETERS = 150_000_000
"""Of the whole model; ViT-B/16 has 86 million."""
MAX_TOKENS = 4096
MAX_GROUPED_POINTS = 131_072
"""Points in all patches of one cloud; the published backbones have at most 8,192."""
_CHUNK = 1 << 20
_SPARE = 1 << 20
"""What a safetensors file may have beside its tensors."""
_ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@contextmanager
def checked_copy(folder: Path, name: str, *, backbone_given: bool = False) -> Generator[Path]:
    """Yield a private copy of an untrusted adapter folder, checked; the copy is removed afterwards.

    `name` is the adapter's name in messages. `backbone_given`: the caller has a weight file for the backbone, so the
    config need not say where it comes from. UserError where the adapter is refused.
    """
    with tempfile.TemporaryDirectory(prefix="pointsmith-adapter-", ignore_cleanup_errors=True) as scratch:
        copy = Path(scratch)
        for file, limit in ((CONFIG_NAME, CONFIG_BYTES), (WEIGHTS_NAME, WEIGHTS_BYTES)):
            _copy(folder / file, copy / file, limit, name)
        check_adapter(copy, name)
        if not backbone_given:
            require_backbone(read_adapter_config(copy, name), name)
        yield copy


def check_adapter(folder: Path, name: str) -> None:
    """Refuse an adapter that is huge, names places of a disk, or whose weights do not fit its config. UserError."""
    check_header(folder / WEIGHTS_NAME, name)
    check_config(read_adapter_config(folder, name), folder, name)


def require_backbone(config: AdapterConfig, name: str) -> None:
    """Refuse an adapter whose backbone is a file of its maker."""
    weights = config.run.backbone.weights
    if weights not in STANDARD_WEIGHTS:
        raise UserError(
            f"{name} needs a backbone file of its maker, which does not come with it",
            got=f"{weights[:100]}, with the hash {config.backbone.sha256[:12]}…",
            remedy="Get that file and give its path as --backbone-weights",
        )


def check_config(config: AdapterConfig, folder: Path, name: str) -> None:
    """Refuse a config that names paths, or describes a model that is too large or that the weights do not fit."""
    run = config.run
    weights = run.backbone.weights
    if weights not in STANDARD_WEIGHTS and weights != Path(weights).name:
        raise UserError(f"{name} names a backbone file by a place on its maker's disk", got=weights[:100])
    if with_paths(run.data, lambda path: Path(path.name)) != run.data:
        raise UserError(f"{name} names data by places on its maker's disk")
    for what, value, limit in (
        ("tokens", run.backbone.shape.patches, MAX_TOKENS),
        ("points in its patches", _grouped_points(run.backbone), MAX_GROUPED_POINTS),
    ):
        if value > limit:
            raise _too_large(name, f"{value:,} {what}", limit)
    sizes = measure(run, len(config.classes), sum(map(len, config.part_names)))
    if sizes.total > MAX_PARAMETERS:
        raise _too_large(name, f"{sizes.total:,} parameters", MAX_PARAMETERS)
    size = (folder / WEIGHTS_NAME).stat().st_size
    # A backbone without a file of its own, or with more in its file than we know of, changes what an adapter keeps.
    if not sizes.adapter_bytes // 2 <= size <= sizes.adapter_bytes + 4 * sizes.total + _SPARE:
        raise UserError(
            f"The weights of {name} do not fit its config",
            got=f"{size:,} bytes",
            expected=f"about {sizes.adapter_bytes:,}",
        )


def _too_large(name: str, got: str, limit: int) -> UserError:
    return UserError(f"{name} is too large to be loaded unseen", got=got, expected=f"at most {limit:,}")


def _grouped_points(backbone: Any) -> int:
    groups, size = getattr(backbone, "groups", 0), getattr(backbone, "group_size", 0)
    return max(map(math.prod, zip(groups, backbone.group_sizes))) if isinstance(groups, tuple) else groups * size


def _copy(source: Path, target: Path, limit: int, name: str) -> None:
    """Copy a regular file of at most `limit` bytes; links, devices and pipes are refused. UserError."""
    try:
        # Without blocking: opening a pipe would wait for its other end.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        if source.is_symlink():
            raise UserError(f"{source.name} of {name} is a link", expected="a regular file")
        descriptor = os.open(source, flags)
    except OSError as error:
        raise UserError(
            f"{source.name} of {name} cannot be opened",
            expected=f"a folder with {CONFIG_NAME} and {WEIGHTS_NAME}",
        ) from error
    with os.fdopen(descriptor, "rb") as reading, target.open("xb") as writing:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UserError(f"{source.name} of {name} is not a regular file")
        left = limit
        while chunk := reading.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise UserError(f"{source.name} of {name} is too large", expected=f"at most {limit:,} bytes")
            writing.write(chunk)


def check_header(path: Path, name: str) -> None:
    """Refuse a safetensors file whose header is too long, or whose tensors do not lie one behind the other. UserError.

    The format: 8 bytes with the header's length, the header as JSON, then the tensors without gaps.
    """

    def refused(reason: str) -> UserError:
        return UserError(f"{path.name} of {name} is damaged: {reason}", remedy="Get the adapter again")

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEADER_BYTES, size - 8):
            raise refused("its header is longer than the file or the limit")
        header = read_json(file.read(length), name=f"The header of {path.name}", limit=HEADER_BYTES)
    if not is_mapping(header):
        raise refused("its header is no mapping")
    entries = [entry for key, entry in header.items() if key != "__metadata__"]
    if len(entries) > MAX_TENSORS:
        raise refused(f"it names {len(entries):,} tensors, and {MAX_TENSORS:,} are allowed")
    spans = sorted(_span(entry) or (-1, -1) for entry in entries)
    end = 0
    for first, last in spans:
        if first != end:
            raise refused("a tensor does not have the place or the size that its type and shape need")
        end = last
    if end != size - 8 - length:
        raise refused("its tensors do not fill it")


def _span(entry: Any) -> tuple[int, int] | None:
    """Return the first and last byte of a tensor, None where the entry contradicts itself."""
    if not is_mapping(entry) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return None
    shape, offsets, item = entry["shape"], entry["data_offsets"], _ITEM_BYTES.get(str(entry["dtype"]))
    if item is None or not _counts(shape, 16) or not _counts(offsets, 2) or len(offsets) != 2:
        return None
    return (offsets[0], offsets[1]) if offsets[1] - offsets[0] == item * math.prod(shape) else None


def _counts(values: Any, most: int) -> bool:
    """Whether these are at most `most` whole numbers of a size that a file can have."""
    return (
        isinstance(values, list)
        and len(values) <= most
        and all(type(value) is int and 0 <= value <= 1 << 48 for value in values)
    )
