"""The published numbers of trainable parameters come out, to the digit."""

from __future__ import annotations

import pytest
from pointsmith.core.building import measure
from pointsmith.core.config import parse_config
from pointsmith.core.presets import presets


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.name)
def test_published_counts(preset) -> None:
    assert preset.counted() == preset.count
    if preset.printed.endswith("M"):  # as it is printed, after rounding
        digits = len(preset.printed.removesuffix(" M").partition(".")[2])
        assert f"{preset.count / 1e6:.{digits}f} M" == preset.printed or preset.name in ROUNDED_OTHERWISE


# The papers print one number for a method's several heads: 1.1 M for DAPT, 1.7 M for IDPT.
ROUNDED_OTHERWISE = {"dapt-scan-objonly", "idpt-scan-objbg"}


def test_dapt_x_is_1_88_percent_of_the_whole_model() -> None:
    preset = {one.name: one for one in presets()}["dapt-x"]
    sizes = measure(preset.run(), preset.classes)
    assert f"{100 * sizes.trainable / sizes.total:.2f}" == "1.88"


@pytest.mark.parametrize(
    ("method", "classes", "count"),
    [
        ({"kind": "lora", "targets": ["qkv"]}, 15, 857_359),
        ({"kind": "bitfit", "where": "all"}, 15, 307_215),
        ({"kind": "ssf", "ends": True}, 15, 370_447),
        ({"kind": "prefix", "length": 48}, 15, 709_903),
        ({"kind": "probe", "train_cls": True}, 15, 268_303),
        ({"kind": "vpt", "prompts": 20, "positions_too": False}, 15, 360_463),
        ({"kind": "full"}, 40, 22_099_752),
    ],
)
def test_other_readings(method: dict, classes: int, count: int) -> None:
    run = parse_config({"backbone": {"kind": "point-mae", "weights": "random"}, "method": method})
    assert measure(run, classes).trainable == count
