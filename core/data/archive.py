"""Archives are opened under caps: on members, on bytes, and on where a member may land."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import UserError
from .root import UNPACKED

_NESTED = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"}
# Text meshes shrink tenfold, repetitive ones perhaps a hundredfold; what shrinks more is made to fill memory.
_RATIO = 250
_SMALL = 16 << 20
_DIRECTORY = 48 << 20
"""Bytes of a zip's directory: half a million files with names of fifty letters."""
_TAIL = 22 + 0xFFFF + 20 + 56
"""The last records of a zip with the longest comment."""


def require_small_directory(path: Path) -> None:
    """Refuse a zip whose directory would fill the memory: it is read whole before anything of it can be counted.

    The directory's length stands in the last record of a zip, or, where that has no room for it, in the one before.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 16 > len(tail):
        return  # no zip: whoever opens it says so
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    large = tail.rfind(b"PK\x06\x06", 0, at)
    if large >= 0:
        length = max(length if length != 0xFFFFFFFF else 0, int.from_bytes(tail[large + 40 : large + 48], "little"))
    if length > _DIRECTORY:
        raise UserError(
            f"{path.name} holds too many files",
            got=f"a directory of {length:,} bytes",
            expected=f"at most {_DIRECTORY:,}",
        )


def check_members(
    archive: zipfile.ZipFile,
    name: str,
    chosen: list[zipfile.ZipInfo] | None = None,
    *,
    max_bytes: int,
    max_members: int,
) -> list[zipfile.ZipInfo]:
    """Return the archive's file members, or refuse the archive: too many, too large, or squeezed beyond belief.

    Where only some will be read, these are `chosen`, and they alone are counted.
    """
    members = [member for member in archive.infolist() if not member.is_dir()] if chosen is None else chosen
    if len(members) > max_members:
        raise UserError(f"{name} holds too many files", got=len(members), expected=f"at most {max_members}")
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise UserError(f"{name} unpacks to too many bytes", got=total, expected=f"at most {max_bytes}")
    for member in members:
        if member.file_size > _SMALL and member.file_size > _RATIO * max(member.compress_size, 1):
            raise UserError(
                f"{name} holds a member that unpacks to {member.file_size} bytes from {member.compress_size}",
                got=member.filename,
                expected=f"at most {_RATIO} bytes from each",
            )
        if member.flag_bits & 0x1:
            raise UserError(f"{name} is encrypted", got=member.filename, remedy="Save it without a password")
    return members


def member_path(member: zipfile.ZipInfo, name: str) -> PurePosixPath:
    """Return where a member of a data set belongs below its root, or refuse one that would land elsewhere."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    windows = PureWindowsPath(member.filename)
    if path.is_absolute() or ".." in path.parts or windows.drive or windows.root or not path.parts:
        raise UserError(f"{name} holds a member that points outside the archive", got=member.filename)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{name} holds a symbolic link", got=member.filename, remedy="Pack the file itself")
    if path.suffix.lower() in _NESTED:
        raise UserError(
            f"{name} holds another archive", got=member.filename, remedy="Unpack it first, then pack only the files"
        )
    return path


def _wanted(
    archive: zipfile.ZipFile, name: str, wanted: Callable[[PurePosixPath], bool], max_bytes: int, max_members: int
) -> list[zipfile.ZipInfo]:
    everything = [member for member in archive.infolist() if not member.is_dir()]
    chosen = [member for member in everything if wanted(PurePosixPath(member.filename.replace("\\", "/")))]
    return check_members(archive, name, chosen, max_bytes=max_bytes, max_members=max_members)


@contextmanager
def unpacked(
    path: Path,
    *,
    wanted: Callable[[PurePosixPath], bool] = lambda _: True,
    max_bytes: int = 8 << 30,
    max_members: int = 200_000,
) -> Generator[Path, None, None]:
    """Yield a temporary folder with the members of the zip at `path` that are `wanted`; it is removed at the end.

    Raises UserError for an archive that is no zip, damaged, encrypted, nested, too large, or that reaches outside.
    """
    with tempfile.TemporaryDirectory(prefix=UNPACKED) as folder:
        root = Path(folder)
        try:
            require_small_directory(path)
            with zipfile.ZipFile(path) as archive:
                for member in _wanted(archive, path.name, wanted, max_bytes, max_members):
                    target = root / member_path(member, path.name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    # Mode x: of two members with one name neither may silently win.
                    with archive.open(member) as source, target.open("xb") as sink:
                        shutil.copyfileobj(source, sink, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{path.name} cannot be unpacked ({reason})", remedy="Pack the folder again as a plain .zip"
            ) from error
        yield root
