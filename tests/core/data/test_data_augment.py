"""Augmentation: the published ranges, one draw a cloud, reproducible from the generator."""

from __future__ import annotations

import math

import pytest
import torch
from pointsmith.core.data.augment import AugmentConfig, augment, permute_points
from pointsmith.core.errors import UserError
from pydantic import ValidationError

KINDS = ["none", "scale-shift", "rotate", "rotate-scale-shift"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides(kind: str):
    config = AugmentConfig.model_validate({"kind": kind})
    points = torch.randn(4, 50, 3, generator=generator(9))
    before = points.clone()
    one, two = augment(points, config, generator()), augment(points, config, generator())
    assert torch.equal(one, two) and torch.equal(points, before) and one.shape == points.shape
    assert torch.equal(one, augment(points, config, generator(1))) == (kind == "none")


def test_scale_and_shift_are_drawn_for_each_cloud_and_axis():
    corners = torch.tensor([[0.0, 0, 0], [1, 1, 1]]).expand(20_000, 2, 3)
    moved = augment(corners, AugmentConfig(kind="scale-shift"), generator())
    shift, scale = moved[:, 0], moved[:, 1] - moved[:, 0]
    for drawn, low, high in ((scale, 2 / 3, 3 / 2), (shift, -0.2, 0.2)):
        assert drawn.min() >= low - 1e-5 and drawn.max() <= high + 1e-5
        error = (high - low) / math.sqrt(12 * 20_000)
        assert ((drawn.mean(dim=0) - (low + high) / 2).abs() < 5 * error).all()
        assert (drawn.std(dim=0) * math.sqrt(12) / (high - low) - 1).abs().max() < 0.02
        assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.05
    assert torch.corrcoef(torch.stack([scale[:, 0], shift[:, 0]]))[0, 1].abs() < 0.05


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotation_is_rigid_and_covers_the_whole_turn(axis: str):
    fixed = "xyz".index(axis)
    points = torch.randn(8000, 6, 3, generator=generator(1), dtype=torch.float64)
    turned = augment(points, AugmentConfig.model_validate({"kind": "rotate", "axis": axis}), generator())
    assert torch.allclose(turned[..., fixed], points[..., fixed])
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(points, points))
    assert torch.allclose(torch.linalg.det(turned[:, :3]), torch.linalg.det(points[:, :3]))  # no reflection
    a, b = (fixed + 1) % 3, (fixed + 2) % 3
    angle = torch.atan2(turned[..., b], turned[..., a]) - torch.atan2(points[..., b], points[..., a])
    angle = angle.remainder(2 * math.pi)
    assert torch.allclose(torch.cos(angle), torch.cos(angle[:, :1]).expand_as(angle))  # one angle a cloud
    counts = torch.histc(angle[:, 0], bins=8, min=0, max=2 * math.pi)
    assert ((counts - 1000).abs() < 5 * math.sqrt(1000 * 7 / 8)).all()


def test_about_y_is_the_default_and_follows_the_right_hand():
    config = AugmentConfig(kind="rotate")
    drawn = torch.rand(1, generator=generator(5))
    angle = float(drawn[0]) * 2 * math.pi
    turned = augment(torch.tensor([[[1.0, 2.0, 0.0]]]), config, generator(5))
    assert torch.allclose(turned[0, 0], torch.tensor([math.cos(angle), 2.0, -math.sin(angle)]), atol=1e-6)


def test_all_together_is_rotation_then_scale_and_shift():
    points = torch.randn(5, 30, 3, generator=generator(3))
    stream = generator(7)
    turned = augment(points, AugmentConfig(kind="rotate"), stream)
    expected = augment(turned, AugmentConfig(kind="scale-shift"), stream)
    assert torch.equal(augment(points, AugmentConfig(kind="rotate-scale-shift"), generator(7)), expected)


def test_no_freedom_means_no_change():
    config = AugmentConfig(kind="scale-shift", scale_min=1, scale_max=1, shift=0)
    points = torch.randn(3, 10, 3, generator=generator())
    assert torch.equal(augment(points, config, generator()), points)


@pytest.mark.parametrize("kind", ["none", "scale-shift", "rotate", "rotate-scale-shift", "batch-scale-shift"])
@pytest.mark.parametrize("count", [40, 10])
def test_what_may_be_overwritten_gives_the_same(kind: str, count: int):
    points, config = torch.randn(6, 40, 3, generator=generator()), AugmentConfig.model_validate({"kind": kind})
    before, answers = points.clone(), []
    for own in (False, True):
        stream = generator(3)
        answers.append(augment(permute_points(points, count, stream, own=own), config, stream, own=own))
        assert own or torch.equal(points, before)
    assert torch.equal(*answers)


def test_permuted_points_are_a_random_subset_without_repetition():
    points = torch.arange(40.0).reshape(1, 40, 1).expand(3000, 40, 3)
    whole = permute_points(points, 40, generator())
    assert torch.equal(whole.sort(dim=1).values, points) and not torch.equal(whole[0], whole[1])
    some = permute_points(points, 10, generator())
    assert some.shape == (3000, 10, 3) and (some[..., 0].sort(dim=1).values.diff(dim=1) > 0).all()
    counts = torch.bincount(some[:, 0, 0].long(), minlength=40)  # who comes first is uniform: FPS starts there
    assert ((counts - 75).abs() < 5 * math.sqrt(75)).all()
    assert torch.equal(some, permute_points(points, 10, generator()))
    with pytest.raises(ValueError, match="41 points wanted"):
        permute_points(points, 41, generator())


def test_impossible_settings_are_refused():
    with pytest.raises(UserError, match="scale_min"):
        AugmentConfig(scale_min=2, scale_max=1)
    for wrong in ({"kind": "flip"}, {"shift": -1}, {"scale_min": 0}, {"axis": "w"}, {"jitter": 1}):
        with pytest.raises(ValidationError):
            AugmentConfig.model_validate(wrong)
