"""Published configurations by name, each with the number of trainable parameters that its paper or code states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .building import measure
from .config import RunConfig, parse_config
from .models.head import Part


@dataclass(frozen=True)
class Preset:
    """One published configuration. `printed` is what the publication prints, `count` the exact number.

    The numbers of 3D publications include the head, those of 2D ones do not (`with_head`).
    """

    name: str
    method: dict[str, Any]
    count: int
    printed: str
    source: str
    backbone: str = "point-mae"
    classes: int = 15
    parts: tuple[Part, ...] | None = None
    with_head: bool = True
    segments: int = 0
    """The parts of all classes together, where the configuration segments."""

    def run(self) -> RunConfig:
        """Return a run of this configuration; its data and schedule are the defaults, see the recipes for those."""
        content: dict[str, Any] = {
            "backbone": {"kind": self.backbone},
            "method": self.method,
            "head": {"parts": self.parts},
        }
        if not self.with_head:
            content |= {"data": {"kind": "vtab", "path": "vtab-1k"}, "select": "last"}
        if self.segments:
            content |= {"data": {"kind": "shapenetpart", "path": "shapenetpart"}}
        return parse_config(content, self.name)

    def counted(self) -> int:
        """Return the number of trainable parameters of our model of it."""
        sizes = measure(self.run(), self.classes, self.segments)
        return sizes.trainable if self.with_head else sizes.trainable - sizes.head


_DAPT, _IDPT, _X = "DAPT (CVPR 2024)", "IDPT (ICCV 2023)", "Adapter-X (arXiv 2406.03051)"
_COMPARED = f"{_DAPT}, its comparison; exact number by our arithmetic"


def presets() -> tuple[Preset, ...]:
    """Return all published configurations, 3D first."""
    return (*_three_d(), *_adapter_x(), *_segmenting(), *_two_d())


def _three_d() -> tuple[Preset, ...]:
    cls_max: tuple[Part, ...] = ("cls", "patch-max")
    return (
        Preset("full", {"kind": "full"}, 22_093_327, "22.1 M", "Point-MAE (ECCV 2022)"),
        Preset("probe", {"kind": "probe"}, 267_535, "0.3 M", _COMPARED),
        Preset("adapter", {"kind": "adapter"}, 862_735, "0.9 M", _COMPARED),
        Preset("adapter-houlsby", {"kind": "adapter", "places": "both", "rank": 32}, 867_343, "0.9 M", _COMPARED),
        Preset("adaptformer", {"kind": "adaptformer"}, 862_735, "0.9 M", _COMPARED),
        Preset("lora", {"kind": "lora"}, 857_359, "0.9 M", _COMPARED),
        Preset("prefix", {"kind": "prefix"}, 728_335, "0.7 M", f"{_COMPARED} (lengths 42 to 52 fit)"),
        Preset("bitfit", {"kind": "bitfit"}, 304_399, "0.3 M", _COMPARED),
        Preset("ssf", {"kind": "ssf"}, 368_911, "0.4 M", _COMPARED),
        Preset("vpt-deep", {"kind": "vpt"}, 360_463, "0.4 M", "IDPT's repository"),
        Preset("idpt-scan", {"kind": "idpt"}, 1_696_783, "1.7 M", _IDPT),
        Preset("idpt-scan-objbg", {"kind": "idpt"}, 1_500_175, "1.7 M", _IDPT, parts=("prompt-max",)),
        Preset("idpt-modelnet40", {"kind": "idpt"}, 1_703_208, "1.7 M", _IDPT, classes=40),
        Preset("dapt-scan-hardest", {"kind": "dapt"}, 1_087_771, "1.1 M", _DAPT),
        Preset("dapt-scan-objbg", {"kind": "dapt", "dropout": 0.5}, 1_087_771, "1.1 M", _DAPT),
        Preset(
            "dapt-scan-objonly", {"kind": "dapt", "dropout": 0}, 989_467, "1.1 M", _DAPT, parts=("cls", "prompt-mean")
        ),
        Preset(
            "dapt-modelnet40",
            {"kind": "dapt", "rank": 72, "dropout": 0},
            1_069_716,
            "1.1 M",
            _DAPT,
            classes=40,
            parts=cls_max,
        ),
    )


def _adapter_x() -> tuple[Preset, ...]:
    ablation = {"kind": "dapt-x", "rank": 64, "tfts": True}
    return (
        Preset("dapt-x", {"kind": "dapt-x"}, 418_067, "0.42 M, 1.88 %", _X),
        Preset("dapt-x-ablation", ablation, 558_099, "0.56 M", f"{_X}, ablation: sharing and block-specific parts"),
        Preset("dapt-x-unshared", {**ablation, "shared": False}, 1_397_311, "1.40 M", f"{_X}, ablation: no sharing"),
        Preset("dapt-x-sharing-only", {"kind": "dapt-x", "rank": 64}, 455_187, "0.46 M", f"{_X}, ablation: no TFTS"),
    )


def _segmenting() -> tuple[Preset, ...]:
    idpt = f"{_IDPT}; its code has 2,304 more, norms that are made twice and of which one never runs"
    dapt = f"{_DAPT}; no code of it is public, and of its rank this is the nearest reading"

    def segmenting(name: str, method: dict[str, Any], count: int, printed: str, source: str) -> Preset:
        return Preset(f"{name}-shapenetpart", method, count, printed, source, classes=16, segments=50)

    return (
        segmenting("full", {"kind": "full"}, 27_063_730, "27.06 M", "Point-MAE (ECCV 2022), its code"),
        segmenting("probe", {"kind": "probe"}, 5_238_706, "not printed", "the head of Point-MAE's code alone"),
        segmenting("dapt", {"kind": "dapt", "rank": 32}, 5_664_574, "5.65 M, by another reading", dapt),
        segmenting("idpt", {"kind": "idpt"}, 5_683_762, "5.69 M, with unused ones", idpt),
    )


def _two_d() -> tuple[Preset, ...]:
    bare = {"tune_norm2": False, "prompts": "none"}

    def two_d(name: str, method: dict[str, Any], count: int, printed: str, source: str) -> Preset:
        return Preset(name, method, count, printed, source, backbone="vit-b16", classes=100, with_head=False)

    noah = "NOAH's comparison (arXiv 2206.04673)"
    return (
        two_d("adapter-8-2d", {"kind": "adapter", "rank": 8}, 156_768, "0.16 M", noah),
        two_d("adapter-64-2d", {"kind": "adapter", "rank": 64}, 1_189_632, "1.19 M", f"{_X}, its baseline"),
        two_d("lora-8-2d", {"kind": "lora", "rank": 8, "targets": ["qkv"]}, 294_912, "0.29 M", noah),
        two_d("adaptformer-64-2d", {"kind": "adaptformer"}, 1_189_632, "1.19 M", f"{_X}, its baseline"),
        two_d("adaptformer-x-2d", {"kind": "adaptformer-x"}, 173_568, "0.17 M, 0.20 %", _X),
        two_d("adapter-x-2d", {"kind": "adapter-x"}, 173_568, "0.17 M", _X),
        two_d("smoa-2d", {"kind": "adaptformer-x", **bare}, 148_992, "0.15 M", f"{_X}, ablation: sharing only"),
        two_d(
            "unshared-2d", {"kind": "adaptformer-x", "shared": False}, 1_812_480, "1.8 M", f"{_X}, ablation: no sharing"
        ),
    )
