"""Published fine-tuned checkpoints as adapters of ours: the settings a file was trained with, its names as ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .adapters import describe, save_adapter
from .building import build
from .config import RunConfig
from .data.clouds import Preparation
from .data.config import H5Data
from .data.names import MODELNET40, SCANOBJECTNN
from .errors import UserError
from .models.backbones import OwnBackboneConfig
from .models.files import read_tensors
from .models.head import HeadConfig, Part
from .models.layouts import LAYOUTS, check_names
from .peft.dapt import DAPTConfig
from .peft.full import FullConfig
from .peft.idpt import IDPTConfig
from .peft.vpt import VPTConfig


@dataclass(frozen=True)
class Benchmark:
    """The published preparation of a benchmark: points per cloud, patches, normalisation, class names."""

    points: int
    groups: int
    normalize: str
    classes: tuple[str, ...]


_SCAN = Benchmark(2048, 128, "none", SCANOBJECTNN)
_MODELNET = Benchmark(1024, 64, "unit-sphere", MODELNET40)
_MODELNET_8K = Benchmark(8192, 512, "unit-sphere", MODELNET40)


@dataclass(frozen=True)
class Published:
    """One published checkpoint: the layout of its file, and the configuration that it was trained with."""

    layout: str
    benchmark: Benchmark
    method: DAPTConfig | FullConfig | IDPTConfig | VPTConfig
    parts: tuple[Part, ...] | None = None
    drop_path: float = 0.1

    def run(self) -> RunConfig:
        """Return the run whose model the file fills; its whole backbone travels with the adapter."""
        bench = self.benchmark
        return RunConfig(
            backbone=OwnBackboneConfig(
                weights="included", groups=bench.groups, drop_path=self.drop_path, skip_origin=True
            ),
            method=self.method,
            data=H5Data(
                train=Path("published"),
                preparation=Preparation(points=bench.points, normalize=bench.normalize),  # type: ignore[arg-type]
            ),
            head=HeadConfig(parts=self.parts),
        )


def _full(layout: str) -> Callable[[Benchmark], Published]:
    return lambda benchmark: Published(layout, benchmark, FullConfig())


def _published() -> dict[str, Published]:
    mae, act, hub = _full("pointmae"), _full("act"), _full("hub/point-mae-base")
    stem, owner = "hub/point-mae-base.", ".yatian-pang"
    found = {f"pointmae/{name}": mae(_SCAN) for name in ("scan_hardest", "scan_objbg", "scan_objonly")}
    found |= {"pointmae/modelnet_1k": mae(_MODELNET), "pointmae/modelnet_8k": mae(_MODELNET_8K)}
    found |= {f"act/{name}": act(_SCAN) for name in ("scan_hardest", "scan_objbg", "scan_objonly")}
    found |= {"act/modelnet": act(_MODELNET)}
    found |= {f"{stem}scanobjectnn-{name}{owner}": hub(_SCAN) for name in ("hardest", "objbg", "objonly")}
    found |= {f"{stem}modelnet40{owner}": hub(_MODELNET)}
    found |= {
        "dapt/scan_hardest": Published("dapt", _SCAN, DAPTConfig(rank=64, dropout=0.2), drop_path=0.3),
        "dapt/scan_objbg": Published("dapt", _SCAN, DAPTConfig(rank=64, dropout=0.5), drop_path=0.3),
        "dapt/scan_objonly": Published("dapt", _SCAN, DAPTConfig(rank=64, dropout=0), ("cls", "prompt-mean")),
        "dapt/modelnet": Published("dapt", _MODELNET, DAPTConfig(rank=72, dropout=0), ("cls", "patch-max")),
    }
    found |= {
        "idpt/scan_hardest": Published("idpt", _SCAN, IDPTConfig()),
        "idpt/scan_objbg": Published("idpt", _SCAN, IDPTConfig(), ("prompt-max",)),
        "idpt/scan_objonly": Published("idpt", _SCAN, IDPTConfig(layer=6)),
        "idpt/modelnet": Published("idpt", _MODELNET, IDPTConfig()),
        "idpt-vpt/scan_hardest": Published("idpt-vpt", _SCAN, VPTConfig()),
    }
    return found


def importable() -> dict[str, Published]:
    """Return every published checkpoint that `import_checkpoint` knows, by the name of its layout."""
    return _published()


def import_checkpoint(path: Path, layout: str, out: Path) -> int:
    """Turn a published checkpoint into an adapter folder; return its size in bytes.

    UserError when the layout is unknown, `out` exists, or the file lacks, adds or misshapes tensors; nothing is
    written then.
    """
    known = importable()
    if layout not in known:
        if layout in LAYOUTS:
            raise UserError(
                f"{layout} is a pre-trained backbone, not a fine-tuned model",
                remedy=f"Use it where it lies: --backbone own --set backbone.weights={path}",
            )
        raise UserError("Unknown layout", got=layout, expected=f"one of {', '.join(sorted(known))}")
    if out.exists():
        raise UserError(f"{out} exists already", remedy="Choose another folder or remove it")
    published = known[layout]
    run = published.run()
    built = build(run, len(published.benchmark.classes))
    state, unknown = LAYOUTS[published.layout].translate(read_tensors(path))
    check_names(built.model.adapter_state(), state, unknown, f"{path.name} as {layout}")
    built.model.load_adapter(state, path.name)
    return save_adapter(out, built, describe(built, run, published.benchmark.classes))
