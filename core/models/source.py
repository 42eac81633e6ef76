"""Where a backbone's published weights come from, and what is known of that file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One published weight file. At most one of `asset`, `repository` and `url` says where it is fetched from."""

    layout: str
    """Name of its key layout, see `layouts`."""
    asset: str | None = None
    """A file that ships with the package, below `assets/`."""
    repository: str | None = None
    """Hub repository, with `filename` at `revision`."""
    revision: str | None = None
    filename: str = "model.safetensors"
    url: str | None = None
    """The authors' own address of the file, where it can be fetched without a browser."""
    sha256: str | None = None
    """Of the file, where it is known; checked after every download."""
    homepage: str = ""
    """Where a person finds the authors' own file."""
    layouts: tuple[str, ...] = ()
    """Layouts that other files of this backbone may have; none: any that fits its sizes."""
    caveat: str = ""
    """What could not be verified about this file or its layout."""
