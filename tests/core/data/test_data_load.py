"""From a config to a data set: splits, normalisation, fingerprint."""

from __future__ import annotations

import numpy as np
import pytest
from pointsmith.core.data.clouds import Clouds, Preparation
from pointsmith.core.data.config import DemoData
from pointsmith.core.data.load import fingerprint, load
from pointsmith.core.data.split import Parts, hold_out_validation, stratified
from pointsmith.core.errors import UserError

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_a_split_takes_its_share_of_every_class(share: float):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 10, 2]))
    kept, held = stratified(labels, share, 7, CLASSES, "validation")
    assert sorted([*kept, *held]) == list(range(len(labels))) and not set(kept) & set(held)
    assert np.bincount(labels[held]).tolist() == [round(40 * share), max(1, round(10 * share)), 1]
    again = stratified(labels, share, 7, CLASSES, "validation")
    assert np.array_equal(held, again[1])
    assert not np.array_equal(held, stratified(labels, share, 8, CLASSES, "validation")[1])
    assert not np.array_equal(held, stratified(labels, share, 7, CLASSES, "test")[1])


def test_clouds_added_to_one_class_leave_the_others_split_as_they_were():
    before = np.repeat([0, 1], [10, 10])
    after = np.repeat([0, 1, 1], [10, 10, 5])
    one = stratified(before, 0.3, 0, CLASSES[:2], "validation")[1]
    two = stratified(after, 0.3, 0, CLASSES[:2], "validation")[1]
    assert np.array_equal(one[before[one] == 0], two[after[two] == 0])


def test_a_class_of_one_cloud_cannot_be_split():
    with pytest.raises(UserError, match="class b has too few clouds to hold some out for the test: 1"):
        stratified(np.array([0, 0, 1]), 0.1, 0, CLASSES[:2], "test")


def test_the_validation_split_does_not_look_at_the_test_part():
    rng = np.random.default_rng(0)
    train = Clouds(rng.normal(size=(20, 4, 3)).astype(np.float32), np.arange(20) % 2, tuple(map(str, range(20))))
    test = Clouds(rng.normal(size=(6, 4, 3)).astype(np.float32), np.arange(6) % 2, tuple(map(str, range(6))))
    with_test = hold_out_validation(Parts(train, None, test, CLASSES[:2]), 0.2, 0)
    without = hold_out_validation(Parts(train, None, None, CLASSES[:2]), 0.2, 0)
    assert with_test.test is test
    assert with_test.validation is not None and without.validation is not None
    assert with_test.validation.names == without.validation.names


def test_the_demo_set():
    config = DemoData(train_per_class=4, test_per_class=2, preparation=Preparation(points=128))
    seen: list[tuple[int, int]] = []
    data = load(config, least=32, progress=lambda what, done, total: seen.append((done, total)))
    assert data.validation is not None and data.test is not None and len(data.classes) == 15
    assert [len(part) for part in (data.train, data.validation, data.test)] == [45, 15, 30]
    assert seen[-1] == (2, 2)
    for part in (data.train, data.validation, data.test):
        assert part.points.dtype == np.float32 and part.points.shape[1:] == (128, 3)
        assert np.allclose(np.linalg.norm(part.points, axis=2).max(axis=1), 1, atol=1e-5)
        assert np.allclose(part.points.mean(axis=1), 0, atol=1e-5)
        assert part.labels.dtype == np.int64 and set(part.labels.tolist()) == set(range(15))
    again = load(config, least=32)
    assert again.fingerprint == data.fingerprint and np.array_equal(again.train.points, data.train.points)
    other = load(config.model_copy(update={"seed": 1}), least=32)
    assert other.fingerprint != data.fingerprint


def test_fewer_points_than_the_model_needs():
    with pytest.raises(UserError, match=r"preparation\.points is smaller than the model needs: 64"):
        load(DemoData(train_per_class=2, test_per_class=1, preparation=Preparation(points=64)), least=128)


def test_a_class_too_small_for_the_validation_split():
    config = DemoData(train_per_class=2, test_per_class=1, preparation=Preparation(points=16))
    assert len(load(config).train) == 15
    assert load(config.model_copy(update={"validation": 0.0})).validation is None


def test_the_fingerprint_sees_content_and_not_order():
    rng = np.random.default_rng(0)
    clouds = Clouds(rng.normal(size=(6, 8, 3)).astype(np.float32), np.arange(6) % 2, tuple("abcdef"))
    preparation = Preparation(points=16)

    def of(*parts: Clouds | None, classes: tuple[str, ...] = ("a", "b"), how: Preparation = preparation) -> str:
        return fingerprint(list(parts), classes, how)

    base = of(clouds, None)
    assert base == of(clouds.take(np.array([3, 1, 5, 0, 2, 4])), None)
    moved = Clouds(clouds.points + np.float32(1e-6), clouds.labels, clouds.names)
    relabelled = Clouds(clouds.points, 1 - clouds.labels, clouds.names)
    others = [
        of(moved, None),
        of(relabelled, None),
        of(None, clouds),
        of(clouds, None, classes=("a", "c")),
        of(clouds, None, how=Preparation(points=16, normalize="none")),
    ]
    assert len({base, *others}) == 6
