"""A demo Space of adapters: a folder with all that it runs on, for a free CPU or ZeroGPU; no Redis, no Celery."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import yaml

from ..adapter_gate import require_backbone
from ..adapters import AdapterConfig, read_adapter_config
from ..errors import UserError
from .client import LIBRARY, Hub
from .place import HubId, require_hub_id
from .pull import pull
from .push import Files, Pushed, Told, publish, untold

Hardware = Literal["cpu", "zero"]
PACKAGE = Path(__file__).resolve().parents[2]
_HOUSES = ("assets", "core", "ui")
_LEFT_OUT = ("__pycache__", "screenshots", "examples", "recipes", "*.pyc")
_BACKBONE = "demo_backbone.safetensors"
NEEDED = (
    "annotated-types",
    "charset-normalizer",
    "fastapi",
    "filelock",
    "gradio",
    "h5py",
    "httpx2",
    "huggingface_hub",
    "llvmlite",
    "lxml",
    "networkx",
    "numba",
    "numpy",
    "pillow",
    "psutil",
    "pyarrow",
    "pydantic",
    "pydantic-core",
    "pyyaml",
    "safetensors",
    "scipy",
    "torch",
    "trimesh",
    "typing-extensions",
)
"""What the demo imports, of all that the project depends on."""
_EMOJI, _COLOURS = "🧊", ("red", "gray")


@dataclass(frozen=True)
class Demo:
    """One adapter of a demo, at one commit."""

    id: HubId
    config: AdapterConfig


def demos(ids: Sequence[str], *, hub: Hub = Hub(), shelf: Path | None = None) -> list[Demo]:
    """Return the adapters by their ids, each pinned to its commit. UserError for one that a Space could not load."""
    if not ids:
        raise UserError("A Space needs an adapter", expected="OWNER/NAME of one on the Hub")
    found: list[Demo] = []
    for text in ids:
        got = pull(require_hub_id(text), hub=hub, shelf=shelf)
        config = read_adapter_config(got.folder)
        require_backbone(config, got.id.name)
        found.append(Demo(got.id, config))
    return found


def write_space(folder: Path, shown: Sequence[Demo], *, title: str, hardware: Hardware = "cpu") -> None:
    """Write the Space's files into a new folder. UserError where it exists."""
    if folder.exists():
        raise UserError(f"{folder} exists already", remedy="Choose another folder or remove it")
    for path, content in space_files(shown, title=title, hardware=hardware).items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)


def push_space(
    name: str,
    shown: Sequence[Demo],
    *,
    hub: Hub = Hub(),
    title: str = "",
    hardware: Hardware = "cpu",
    private: bool | None = None,
    told: Told = untold,
) -> Pushed:
    """Publish the Space as `owner/name`, in one commit. UserError says why not."""
    target = require_hub_id(name, "A Space")
    files = space_files(shown, title=title or default_title(shown), hardware=hardware)
    said = f"A demo of {', '.join(one.id.name for one in shown)}"
    return publish(hub, target, files, kind="space", title=said[:100], private=private, told=told)


def default_title(shown: Sequence[Demo]) -> str:
    """Return what the Space is called where nobody says it."""
    first = shown[0].id.name.split("/")[-1]
    return first if len(shown) == 1 else f"{first} and {len(shown) - 1} more"


def space_files(shown: Sequence[Demo], *, title: str, hardware: Hardware = "cpu") -> Files:
    """Return the Space's files. The package itself goes along, so that the Space runs what made it."""
    listed = {"adapters": [f"{one.id.name}@{one.id.revision}" for one in shown], "title": title, "hardware": hardware}
    return {
        "README.md": _readme(shown, title, hardware).encode(),
        "app.py": _APP[hardware].encode(),
        "requirements.txt": requirements(hardware).encode(),
        "adapters.json": (json.dumps(listed, indent=2) + "\n").encode(),
        **_package(any(one.config.run.backbone.kind == "demo" for one in shown)),
    }


_APP = {
    "cpu": '''"""A demo of adapters, see adapters.json; made by `pointsmith space`."""

from pathlib import Path

from pointsmith.ui.demo import launch

launch(Path(__file__).with_name("adapters.json"))
''',
    "zero": '''"""A demo of adapters on ZeroGPU, see adapters.json; made by `pointsmith space`."""

from pathlib import Path

import spaces  # before PyTorch: it lends the GPU for each call

from pointsmith.ui.demo import launch

launch(Path(__file__).with_name("adapters.json"), device="cuda", lend=spaces.GPU(duration=30))
''',
}


def space_python(hardware: Hardware) -> str:
    """Return the Python of the Space, as `3.12`: this one's, as the pinned versions may exist for no other.

    ZeroGPU offers 3.12 only of those that are supported here and not about to end.
    """
    return "3.12" if hardware == "zero" else f"{sys.version_info.major}.{sys.version_info.minor}"


def requirements(hardware: Hardware) -> str:
    """Return requirements.txt: the versions installed here, or the newest up to them that another Python can have."""
    lines = ["# Made by `pointsmith space`: what the demo needs, at the versions it was made with."]
    bound = "==" if space_python(hardware) == space_python("cpu") else "<="
    for name in NEEDED:
        if hardware == "zero" and name == "torch":
            lines.append("torch>=2.8")  # ZeroGPU brings the builds that it supports
            continue
        try:
            lines.append(f"{name}{bound}{version(name).split('+')[0]}")
        except PackageNotFoundError:
            continue
    return "\n".join([*lines, *(["spaces"] if hardware == "zero" else []), ""])


def _package(with_demo_backbone: bool) -> Files:
    """Return the package's files, without tests, command line and what trains; the demo backbone where it is needed."""
    found: Files = {f"{LIBRARY}/__init__.py": PACKAGE / "__init__.py"}
    for house in _HOUSES:
        for path in sorted((PACKAGE / house).rglob("*")):
            inside = path.relative_to(PACKAGE)
            if not path.is_file() or any(path.match(one) or one in inside.parts for one in _LEFT_OUT):
                continue
            if inside.parts[:2] == ("ui", "cli") or (inside.name == _BACKBONE and not with_demo_backbone):
                continue
            if path.stat().st_size:
                found[f"{LIBRARY}/{inside.as_posix()}"] = path
            else:
                found[f"{LIBRARY}/{inside.as_posix()}"] = b"\n"
    return found


def _readme(shown: Sequence[Demo], title: str, hardware: Hardware) -> str:
    bases = {"zero": {"suggested_hardware": "zero-a10g"}, "cpu": {}}
    try:
        gradio = version("gradio")
    except PackageNotFoundError:
        gradio = ""
    front = {
        "title": title,
        "emoji": _EMOJI,
        "colorFrom": _COLOURS[0],
        "colorTo": _COLOURS[1],
        "sdk": "gradio",
        **({"sdk_version": gradio} if gradio else {}),
        "python_version": space_python(hardware),
        "app_file": "app.py",
        "short_description": "Rotate a 3D cloud and see what an adapter says of it",
        "models": [one.id.name for one in shown],
        "tags": ["point-cloud", "3d", LIBRARY],
        "license": "apache-2.0",
        **bases[hardware],
    }
    if all(one.config.run.backbone.modality == "images" for one in shown):
        front |= {"short_description": "See what an adapter says of an image", "tags": [LIBRARY]}
    rows = [
        f"| [{one.id.name}](https://huggingface.co/{one.id.name}/tree/{one.id.revision}) | {one.config.adapter_type} "
        f"on {one.config.backbone.kind} | {', '.join(one.config.classes[:12])}"
        f"{' …' if len(one.config.classes) > 12 else ''} |"
        for one in shown
    ]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {title}",
        "",
        "Made by `pointsmith space`. Each adapter is pinned to a commit; uploads are read, answered and removed.",
        "",
        "| adapter | | classes |",
        "|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)
