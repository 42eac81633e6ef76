"""The generator: same everywhere, varied, never overlapping, and its faults do what they say."""

from __future__ import annotations

import numpy as np
import pytest
from pointsmith.core.data.procedural import CLASSES, Faults, make_cloud, make_split, make_unlabelled
from pointsmith.core.data.procedural_faults import hidden, scan, visible
from pointsmith.core.data.procedural_shapes import Builder, builders
from pointsmith.core.data.procedural_solids import Dice, Solid, any_turn, sample, spin
from pointsmith.core.data.procedural_wild import families
from pointsmith.core.errors import UserError
from pydantic import ValidationError

LABELS = range(len(CLASSES))


def assert_sane(clouds: np.ndarray) -> None:
    assert clouds.dtype == np.float32 and np.isfinite(clouds).all()
    assert np.abs(clouds.mean(axis=1)).max() < 1e-4
    assert np.allclose(np.linalg.norm(clouds, axis=2).max(axis=1), 1, atol=1e-5)


def test_there_are_fifteen_classes():
    assert len(CLASSES) == len(set(CLASSES)) == 15


@pytest.mark.parametrize("label", LABELS, ids=CLASSES)
def test_objects_of_a_class_are_sane_and_differ(label: int):
    clouds = np.stack([make_cloud(label, (5, seed), 64) for seed in range(60)])
    assert clouds.shape == (60, 64, 3)
    assert_sane(clouds)
    # The spread of the box's proportions shows that the shapes differ, not only the sampled points.
    clean = np.stack([make_cloud(label, seed, 256, faults=Faults.none()) for seed in range(30)])
    assert (np.ptp(clean, axis=1).std(axis=0) > 0.02).sum() >= 2
    assert len(np.unique(clean.round(4).reshape(30, -1), axis=0)) == 30


@pytest.mark.parametrize("builder", builders().values(), ids=CLASSES)
def test_five_hundred_seeds_give_finite_surfaces(builder: Builder):
    for seed in range(500):
        solid = Solid()
        builder(Dice(np.random.default_rng(seed)), solid)
        assert np.isfinite(solid.triangles()).all()


def test_a_cloud_depends_on_its_seed_alone():
    first = make_cloud(3, (1, 2), 128)
    make_cloud(4, 9, 64)
    assert np.array_equal(first, make_cloud(3, (1, 2), 128))
    assert not np.array_equal(first, make_cloud(3, (1, 3), 128))
    assert not np.array_equal(first, make_cloud(3, (2, 1), 128))
    assert np.array_equal(make_cloud(0, 7, 64), make_cloud(0, (7,), 64))


# Mean |x|, |y|, |z| of an airplane, a chair and a table of the demo set, and of three unlabelled clouds.
PINNED = [[0.2882, 0.1294, 0.2637], [0.2512, 0.3158, 0.2807], [0.2634, 0.1303, 0.2041]]
PINNED_WILD = [[0.2622, 0.0892, 0.3328], [0.2347, 0.1436, 0.1941], [0.3664, 0.2685, 0.1344]]


def test_numbers_are_the_same_on_every_machine():
    clouds, _, _ = make_split("train", 1, 256, 0)
    assert np.allclose(np.abs(clouds[[0, 5, 14]]).mean(axis=1), PINNED, atol=2e-3)
    wild = make_unlabelled(3, 256, 0)
    assert np.allclose(np.abs(wild).mean(axis=1), PINNED_WILD, atol=2e-3)


def test_splits_are_balanced_named_and_disjoint():
    train, labels, names = make_split("train", 3, 64, 0)
    test, _, other = make_split("test", 3, 64, 0)
    assert train.shape == (45, 64, 3) and labels.dtype == np.int64
    assert (np.bincount(labels) == 3).all() and (np.bincount(labels[:15]) == 1).all()
    assert len(set(names)) == 45 and names[5] == f"{CLASSES[5]}-0000" and names == other
    distance = np.abs(train[:, None] - test[None]).max(axis=(2, 3))
    assert distance.min() > 1e-3
    larger, _, _ = make_split("train", 4, 64, 0)
    assert np.array_equal(larger[:45], train)


def test_unlabelled_clouds_do_not_depend_on_how_they_are_divided():
    whole = make_unlabelled(60, 64, 3)
    assert_sane(whole)
    assert np.array_equal(np.concatenate([make_unlabelled(25, 64, 3), make_unlabelled(35, 64, 3, start=25)]), whole)
    assert len(np.unique(whole.round(4).reshape(60, -1), axis=0)) == 60


@pytest.mark.parametrize("family", families(), ids=lambda family: family.__name__)
def test_every_family_gives_finite_surfaces_with_area(family):
    for seed in range(60):
        solid = Solid()
        family(Dice(np.random.default_rng(seed)), solid)
        triangles = solid.triangles()
        assert np.isfinite(triangles).all()
        a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
        assert np.linalg.norm(np.cross(a, b), axis=1).sum() > 1e-4


def test_points_are_drawn_by_area():
    solid = Solid()
    solid.boxes([[0, 0, 0], [5, 0, 0]], [[1, 1, 1], [3, 3, 3]])
    points = sample(solid.triangles(), 20_000, np.random.default_rng(0))
    assert np.mean(points[:, 0] > 2) == pytest.approx(9 / 10, abs=0.01)
    small = points[points[:, 0] < 2]
    assert np.allclose(np.abs(small).max(axis=1), 0.5)


def test_a_tube_has_its_radius_and_a_turned_body_its_profile():
    solid = Solid()
    solid.tube([[0, 0, 0], [0, 1, 0], [0, 2, 0]], 0.25, sides=40, caps=False)
    points = sample(solid.triangles(), 2000, np.random.default_rng(0))
    assert np.hypot(points[:, 0], points[:, 2]) == pytest.approx(0.25, abs=0.002)
    turned = Solid()
    turned.revolve([[1, 0], [0.5, 2]], sides=60, caps=False)
    points = sample(turned.triangles(), 2000, np.random.default_rng(0))
    assert np.hypot(points[:, 0], points[:, 2]) == pytest.approx(1 - points[:, 1] / 4, abs=0.003)


def test_rotations_are_rotations():
    for turn in (spin(0.7, 0), spin(0.7, 1), spin(0.7, 2), any_turn(np.random.default_rng(0))):
        assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)


def ball(count: int) -> np.ndarray:
    solid = Solid()
    solid.ellipsoids([[0, 0, 0]], [[1, 1, 1]], detail=24)
    return sample(solid.triangles(), count, np.random.default_rng(0))


def test_a_camera_sees_the_front_of_a_ball_only():
    points = ball(4000)
    seen = visible(points, np.array([0.0, 0.0, 4.0]))
    assert seen[points[:, 2] > 0.5].mean() > 0.95
    assert seen[points[:, 2] < -0.3].mean() < 0.02


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_occlusion_hides_the_share_it_is_told(share: float):
    points = ball(1000)
    present = points[:, 1] > 0
    gone = hidden(points, present, share, np.random.default_rng(1))
    assert gone[present].mean() == pytest.approx(share, abs=0.01)


def solid_ball() -> np.ndarray:
    solid = Solid()
    solid.ellipsoids([[0, 0, 0]], [[1, 1, 1]], detail=16)
    return solid.triangles()


def clean_but(**strengths: float) -> Faults:
    return Faults.none().model_copy(update=strengths)


def test_no_fault_leaves_a_whole_object_facing_one_way():
    points = scan(solid_ball(), 2000, Faults.none(), np.random.default_rng(0))
    assert np.abs(points.mean(axis=0)).max() < 0.06
    assert np.linalg.norm(points, axis=1) == pytest.approx(1, abs=0.03)


def test_a_view_shows_one_side_and_noise_leaves_the_surface():
    for seed in range(5):
        seen = scan(solid_ball(), 1000, clean_but(view=1.0), np.random.default_rng(seed))
        assert np.linalg.norm(seen.mean(axis=0)) > 0.3
    noisy = [scan(solid_ball(), 1000, clean_but(noise=0.1), np.random.default_rng(seed)) for seed in range(20)]
    spread = [np.linalg.norm(cloud, axis=1).std() for cloud in noisy]
    assert 0.06 < max(spread) < 0.11 and min(spread) < 0.03


def test_background_adds_points_off_the_object_and_unevenness_moves_the_mean():
    away = [
        np.mean(
            np.linalg.norm(scan(solid_ball(), 1000, clean_but(background=0.5), np.random.default_rng(s)), axis=1) > 1.05
        )
        for s in range(20)
    ]
    assert 0.05 < np.mean(away) < 0.5
    shifts = [
        np.linalg.norm(scan(solid_ball(), 1000, clean_but(uneven=1.0), np.random.default_rng(s)).mean(axis=0))
        for s in range(20)
    ]
    assert np.mean(shifts) > 0.1


def test_turning_keeps_objects_upright():
    turned = make_cloud(CLASSES.index("ladder"), 0, 512, faults=clean_but(turn=180))
    still = make_cloud(CLASSES.index("ladder"), 0, 512, faults=Faults.none())
    assert np.allclose(turned[:, 1], still[:, 1], atol=1e-5)
    assert not np.allclose(turned, still, atol=0.05)


@pytest.mark.parametrize("key", ["view", "occlusion", "background", "noise", "uneven", "turn"])
def test_impossible_strengths_are_refused(key: str):
    with pytest.raises(ValidationError):
        Faults.model_validate({key: -0.1})
    with pytest.raises(ValidationError):
        Faults.model_validate({key: 1000})


def test_an_unknown_class_is_refused_in_one_sentence():
    with pytest.raises(UserError, match="No such class: 15"):
        make_cloud(15, 0)
