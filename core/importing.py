"""Published fine-tuned checkpoints as adapters of ours: the settings a file was trained with, its names as ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .adapters import describe, save_adapter
from .building import build
from .config import RunConfig
from .data.clouds import Preparation
from .data.config import H5Data, ShapeNetPartData
from .data.names import MODELNET40, SCANOBJECTNN, SHAPENETPART, numbered_parts
from .errors import UserError
from .models.backbones import BackboneConfig, OwnBackboneConfig, PointBERTConfig
from .models.files import read_tensors
from .models.head import HeadConfig, HeadKind, Part
from .models.layouts import LAYOUTS, check_names
from .models.point_m2ae import PointM2AEConfig
from .models.point_transformer import PointTransformerConfig
from .peft.dapt import DAPTConfig
from .peft.full import FullConfig
from .peft.idpt import IDPTConfig
from .peft.vpt import VPTConfig


@dataclass(frozen=True)
class Benchmark:
    """The published preparation of a benchmark: points per cloud, patches, normalisation, names of its answers."""

    points: int
    groups: int
    normalize: str
    classes: tuple[str, ...]
    part_names: tuple[tuple[str, ...], ...] = ()


_SCAN = Benchmark(2048, 128, "none", SCANOBJECTNN)
_MODELNET = Benchmark(1024, 64, "unit-sphere", MODELNET40)
_MODELNET_4K = Benchmark(4096, 256, "unit-sphere", MODELNET40)
_MODELNET_8K = Benchmark(8192, 512, "unit-sphere", MODELNET40)
_SHAPENETPART = Benchmark(2048, 128, "unit-sphere", tuple(SHAPENETPART), numbered_parts(SHAPENETPART.values()))
# Point-BERT's own ScanObjectNN models have forty outputs (`cls_dim: 40` in its configs); no label ever reached the last
# twenty-five, so their names say that they mean nothing.
_SCAN_OF_40 = Benchmark(1024, 64, "none", (*SCANOBJECTNN, *(f"unused {i}" for i in range(15, 40))))


@dataclass(frozen=True)
class Published:
    """One published checkpoint: the layout of its file, and the configuration that it was trained with."""

    layout: str
    benchmark: Benchmark
    method: DAPTConfig | FullConfig | IDPTConfig | VPTConfig
    parts: tuple[Part, ...] | None = None
    drop_path: float = 0.1
    backbone: BackboneConfig = field(default_factory=lambda: OwnBackboneConfig(weights="included", skip_origin=True))
    head: HeadKind | None = None

    def run(self) -> RunConfig:
        """Return the run whose model the file fills; its whole backbone travels with the adapter."""
        bench = self.benchmark
        sizes: dict[str, object] = {"drop_path": self.drop_path}
        if isinstance(self.backbone, PointTransformerConfig):
            sizes["groups"] = bench.groups
        preparation = Preparation(points=bench.points, normalize=bench.normalize)  # type: ignore[arg-type]
        unnamed = Path("published")
        return RunConfig(
            backbone=self.backbone.model_copy(update=sizes),
            method=self.method,
            data=ShapeNetPartData(path=unnamed, preparation=preparation)
            if bench.part_names
            else H5Data(train=unnamed, preparation=preparation),
            head=HeadConfig(kind=self.head, parts=self.parts),
        )


def _full(layout: str) -> Callable[[Benchmark], Published]:
    return lambda benchmark: Published(layout, benchmark, FullConfig())


def _point_bert() -> dict[str, Published]:
    """Return Point-BERT's own models, from the authors and from the Hub."""
    backbone = PointBERTConfig(weights="included", skip_origin=True)

    def full(layout: str, benchmark: Benchmark) -> Published:
        return Published(layout, benchmark, FullConfig(), backbone=backbone, head="mlp2")

    modelnet = (("", "1k", _MODELNET), ("-4k", "4k", _MODELNET_4K), ("-8k", "8k", _MODELNET_8K))
    found: dict[str, Published] = {}
    for name in ("hardest", "objbg", "objonly"):
        found[f"pointbert/scan_{name}"] = full("pointbert", _SCAN_OF_40)
        found[f"hub/point-bert-base.scanobjectnn-{name}.xumin-yu"] = full("hub/point-bert-base", _SCAN_OF_40)
    for on_hub, own, benchmark in modelnet:
        found[f"pointbert/modelnet_{own}"] = full("pointbert", benchmark)
        found[f"hub/point-bert-base.modelnet40{on_hub}.xumin-yu"] = full("hub/point-bert-base", benchmark)
    return found


def _point_m2ae() -> dict[str, Published]:
    """Return Point-M2AE's own models from the Hub; the benchmarks differ in groups and in what the head joins."""
    layout, stem, owner = "hub/point-m2ae-base", "hub/point-m2ae-base.", ".renrui-zhang"
    modelnet = PointM2AEConfig(weights="included", skip_origin=True)
    scan = modelnet.model_copy(update={"group_sizes": (32, 16, 16)})
    found = {
        f"{stem}scanobjectnn-{name}{owner}": Published(
            layout, _SCAN, FullConfig(), ("patch-mean", "rest-max"), backbone=scan
        )
        for name in ("hardest", "objbg")
    }
    return found | {f"{stem}modelnet40{owner}": Published(layout, _MODELNET, FullConfig(), backbone=modelnet)}


def _published() -> dict[str, Published]:
    mae, act, hub = _full("pointmae"), _full("act"), _full("hub/point-mae-base")
    stem, owner = "hub/point-mae-base.", ".yatian-pang"
    found = {f"pointmae/{name}": mae(_SCAN) for name in ("scan_hardest", "scan_objbg", "scan_objonly")}
    found |= {"pointmae/modelnet_1k": mae(_MODELNET), "pointmae/modelnet_8k": mae(_MODELNET_8K)}
    found |= {name: _full("pointmae-seg")(_SHAPENETPART) for name in ("pointmae-seg", "pointmae/part_seg")}
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
    return found | _point_bert() | _point_m2ae()


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
    bench = published.benchmark
    built = build(run, len(bench.classes), sum(map(len, bench.part_names)))
    state, unknown = LAYOUTS[published.layout].translate(read_tensors(path))
    check_names(built.model.adapter_state(), state, unknown, f"{path.name} as {layout}")
    built.model.load_adapter(state, path.name)
    return save_adapter(out, built, describe(built, run, bench.classes, part_names=bench.part_names))
