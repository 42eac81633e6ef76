"""Segmentation into parts: the data sets, the model on every method, the scores, training, resuming, answering."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pointsmith.core.building import build, measure
from pointsmith.core.config import choices, parse_config
from pointsmith.core.data.augment import AugmentConfig, augment
from pointsmith.core.data.config import PartFolderData, ShapeNetPartData
from pointsmith.core.data.load import load
from pointsmith.core.data.names import SHAPENETPART
from pointsmith.core.data.part_clouds import PartClouds, gathered, judged
from pointsmith.core.errors import UserError
from pointsmith.core.importing import import_checkpoint
from pointsmith.core.merging import merge
from pointsmith.core.models.part_head import nearest_weights
from pointsmith.core.peft.part_model import TunedForParts
from pointsmith.core.predict import Predictor
from pointsmith.core.presets import presets
from pointsmith.core.training import train
from pointsmith.core.training.task import PartTask
from safetensors.torch import load_file

from tests.support.part_sets import FIXED, method_of, run_on, write_shapenetpart, write_tools
from tests.support.paths import GOLDEN
from tests.support.standin import stand_in_clouds, stand_in_weights
from tests.support.tiny import BACKBONE

PUBLISHED = GOLDEN / "parts"
METHODS = sorted(choices("method"))
NAMES = (("stick", "head"), ("handle", "top"))


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tools(tmp_path_factory.mktemp("tools") / "tools")


def model_of(kind: str, **changes) -> TunedForParts:
    method = method_of(kind)
    if "routing" in choices("method")[kind].model_fields:
        method["routing"] = "dense"  # top-1 may leave an expert without tokens
    model = build(run_on(Path("tools"), kind, method=method, **changes), 2, 4).model
    torch.manual_seed(1)
    with torch.no_grad():  # what starts at zero would hide mistakes
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):
                parameter.fill_(1.0)
    assert isinstance(model, TunedForParts)
    return model


def points_of(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(seed))


CATEGORY = torch.tensor([0, 1, 0, 1])


def loss_of(model: TunedForParts) -> torch.Tensor:
    parts = torch.randint(0, 2, (4, 64, 1), generator=torch.Generator().manual_seed(2)) + 2 * CATEGORY[:, None, None]
    loss, right = PartTask(NAMES).learn(model, torch.cat([points_of(), parts.float()], dim=2), CATEGORY)
    assert not right.requires_grad and 0 <= float(right) <= 4
    penalty = model.method.penalty()
    return loss if penalty is None else loss + penalty


def a_step(model: TunedForParts) -> None:
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    loss_of(model).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", METHODS)
def test_every_trainable_parameter_gets_a_gradient_and_nothing_else(kind: str) -> None:
    model = model_of(kind).train()
    loss_of(model).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == parameter.requires_grad, name


@pytest.mark.parametrize("kind", METHODS)
def test_frozen_bytes_stay_copies_are_independent_and_release_restores(kind: str) -> None:
    model = model_of(kind)
    before = {name: tensor.clone() for name, tensor in model.trunk.state_dict().items()}
    answer = model.eval()(points_of(), CATEGORY)
    other = copy.deepcopy(model)
    a_step(other)
    assert torch.equal(model.eval()(points_of(), CATEGORY), answer)
    for name, tensor in other.trunk.state_dict().items():
        assert torch.equal(tensor, before[name]) or name in other.kept_names, name
    again = build(run_on(Path("tools"), kind, method={**method_of(kind), **_dense(kind)}), 2, 4).model
    again.load_adapter({name: tensor.clone() for name, tensor in other.adapter_state().items()})
    assert torch.equal(again.eval()(points_of(), CATEGORY), other.eval()(points_of(), CATEGORY))
    trunk = other.release().eval()
    assert not any(getattr(module, "deltas", ()) for module in trunk.modules())


def _dense(kind: str) -> dict:
    return {"routing": "dense"} if "routing" in choices("method")[kind].model_fields else {}


@pytest.mark.parametrize("kind", METHODS)
def test_recomputed_blocks_give_the_same_gradients_and_statistics(kind: str) -> None:
    found = []
    for recomputed in (False, True):
        model = model_of(kind).train()
        if recomputed:
            model.recompute()
        torch.manual_seed(3)
        loss_of(model).backward()
        found.append(({n: p.grad for n, p in model.trainable()}, dict(model.named_buffers())))
    (plain, buffers), (again, buffers_again) = found
    for name in plain:
        assert torch.allclose(plain[name], again[name], rtol=1e-4, atol=1e-7), name
    assert all(torch.equal(buffers[name], buffers_again[name]) for name in buffers)


@pytest.mark.parametrize("kind", METHODS)
def test_measured_sizes_are_those_of_the_model(kind: str) -> None:
    config = run_on(Path("tools"), kind)
    assert measure(config, 2, 4) == build(config, 2, 4).sizes


@pytest.mark.parametrize("kind", METHODS)
def test_a_class_token_may_stay(kind: str) -> None:
    model = model_of(kind, backbone={**FIXED["backbone"], "class_token": True}).eval()
    assert model(points_of(), CATEGORY).shape == (4, 64, 4)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["idpt", "dapt", "vpt"])
def test_any_depth_has_levels(kind: str, depth: int) -> None:
    if kind == "idpt" and depth == 1:
        return  # refused when configured
    model = model_of(kind, backbone={**BACKBONE, "depth": depth}).train()
    loss_of(model).backward()
    assert model(points_of(), CATEGORY).isfinite().all()


def test_idpt_shows_the_head_the_prompts_of_each_level_and_takes_them_off() -> None:
    model = model_of("idpt").eval()
    lengths: list[int] = []
    for block in model.trunk.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    levels, _ = model.trunk.read_levels(points_of())
    assert lengths == [8, 9, 8, 9, 8, 9]  # before blocks 2, 4 and 6 of 6, as before 4, 8 and 12 of 12
    assert [tokens.shape[1] for tokens in levels] == [10, 10, 10]


@pytest.mark.slow
def test_a_compiled_model_answers_as_the_plain_one() -> None:
    torch._dynamo.reset()
    model = model_of("dapt").eval()
    patches, centres = model.trunk.group(points_of())  # type: ignore[operator]
    levels = model.trunk.shape.levels
    compiled = torch.compile(model.trunk.encode_levels, backend="aot_eager")  # type: ignore[arg-type]
    with torch.no_grad():
        pairs = zip(compiled(patches, centres, levels), model.trunk.encode_levels(patches, centres, levels))  # type: ignore[operator]
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
    torch._dynamo.reset()


def test_published_logits_through_the_published_file(tmp_path: Path) -> None:
    case = json.loads((PUBLISHED / "pointmae-seg.json").read_text())
    content = {"model_state_dict": stand_in_weights(case["shapes"], case["seed"]), "epoch": 1}
    torch.save(content, tmp_path / "part_seg.pth")
    import_checkpoint(tmp_path / "part_seg.pth", "pointmae/part_seg", tmp_path / "adapter")
    predictor = Predictor.load(tmp_path / "adapter")
    clouds = stand_in_clouds(case["batch"], case["points"], case["seed"] + 1000)
    answers = predictor.segment(list(clouds), "airplane", raw=True)
    want = np.load(PUBLISHED / "pointmae-seg.npz")["logits"]
    assert np.abs(np.stack([one.logits for one in answers])[:, : want.shape[1]] - want).max() <= 1e-4
    trainable, total = predictor.model.count()
    assert total == trainable == 27_063_730 and predictor.model.head.near[0].weight.shape == (1536, 1155)  # type: ignore[index, union-attr]


def test_published_counts() -> None:
    on_parts = {one.name: one for one in presets() if one.segments}
    assert len(on_parts) >= 4
    for preset in on_parts.values():
        assert preset.counted() == preset.count, preset.name
    run = on_parts["full-shapenetpart"].run()
    assert measure(run, 16, 50).head == 5_238_706


def test_nearest_centres_weigh_by_inverse_squared_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    points, centres = torch.randn(2, 30, 3, generator=generator), torch.randn(2, 7, 3, generator=generator)
    points[:, 0] = centres[:, 2]
    weights = nearest_weights(points, centres)
    for b in range(2):
        for n in range(30):
            squared = ((points[b, n] - centres[b]) ** 2).sum(dim=1)
            near = squared.argsort()[:3]
            share = 1 / (squared[near] + 1e-8)
            assert torch.allclose(weights[b, n, near], share / share.sum(), atol=1e-5)
            assert int((weights[b, n] > 0).sum()) <= 3
    assert weights[:, 0, 2].min() > 0.9999
    assert torch.equal(nearest_weights(points, centres[:, :1]), torch.ones(2, 30, 1))


def test_the_score_is_the_published_one() -> None:
    task = PartTask((("a", "b"), ("c", "d", "e")))
    truth = torch.tensor([[0, 0, 0, 0], [2, 2, 3, 3]])
    said = torch.tensor([[0, 0, 1, 1], [2, 2, 2, 3]])
    logits = torch.nn.functional.one_hot(said, 5).float()
    logits[1, 0, 0] = 9.0  # a part of another category, however sure, is no answer
    overlap = task._overlap(logits, truth, torch.tensor([0, 1]))
    found = task._of_clouds(overlap, torch.tensor([0, 1]))
    assert found.tolist() == pytest.approx([(2 / 4 + 0 / 2) / 2, (2 / 3 + 1 / 2 + 1) / 3])  # part e is nowhere: 1
    scores = task._scores(overlap, torch.tensor([0, 1]), "test", (0.0, 0.5))
    assert scores.per_class == pytest.approx(found.tolist()) and scores.accuracy == pytest.approx(float(found.mean()))
    assert scores.per_part == pytest.approx((0.5, 0.0, 2 / 3, 0.5, None))


def test_steps_draw_points_with_their_labels(tools: Path) -> None:
    config = run_on(tools)
    dataset = load(config.data)
    assert isinstance(dataset.train, PartClouds)
    known = {
        tuple(place): part
        for cloud, own in zip(dataset.train.points, dataset.train.parts)
        for place, part in zip(cloud.tolist(), own.tolist())
    }
    feed = dataset.train.feed(torch.device("cpu"))
    (batch,) = feed.batches([np.arange(4)])
    for sampling in ("repeating", "distinct"):
        data = config.data.model_copy(update={"sampling": sampling})
        seen = data.vary(batch, AugmentConfig(kind="none"), torch.Generator().manual_seed(0))
        assert seen.shape == (4, 64, 4)
        assert all(known[tuple(row[:3])] == row[3] for cloud in seen.tolist() for row in cloud)
        distinct = {len({tuple(row) for row in cloud}) for cloud in seen.tolist()}
        assert (distinct == {64}) == (sampling == "distinct")
    moved = config.data.vary(batch, AugmentConfig(kind="scale-shift"), torch.Generator().manual_seed(0))
    assert set(moved[..., 3].unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_one_scale_for_a_whole_step_and_a_move_for_each_cloud() -> None:
    points = torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(0))
    moved = augment(points, AugmentConfig(kind="batch-scale-shift"), torch.Generator().manual_seed(1))
    factor = (moved[:, 1] - moved[:, 0]) / (points[:, 1] - points[:, 0])
    assert torch.allclose(factor, factor[:1].expand_as(factor), atol=1e-3) and factor[0].unique().numel() == 3
    offset = (moved - points * factor[:1, None])[:, 0]
    assert (offset - offset[0]).abs().max() <= 0.2 + 1e-5 and (offset - offset[0]).abs().max() > 0.01
    assert factor.min() >= 2 / 3 - 1e-3 and factor.max() <= 3 / 2 + 1e-3


@pytest.fixture(scope="module")
def whole(tools: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(train(run_on(tools), folder, device="cpu"))


def curve(events) -> list[tuple]:
    picked = []
    for event in events:
        if event.kind == "step":
            picked.append((event.step, event.loss, event.lr, event.grad_norm))
        elif event.kind == "epoch":
            picked.append((event.epoch, event.train_loss, event.train_accuracy, event.validation_accuracy, event.best))
        elif event.kind == "scores":
            picked.append((event.split, event.loss, event.accuracy, event.per_part))
    return picked


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_has_the_very_numbers_of_an_uninterrupted_one(whole, tools, tmp_path, stop_after: int) -> None:
    first = []
    for event in train(
        run_on(tools), tmp_path, device="cpu", stop=lambda: sum(e.kind == "step" for e in first) >= stop_after
    ):
        first.append(event)
    assert first[-1].kind == "interrupted"
    second = list(train(run_on(tools), tmp_path, device="cpu"))
    assert curve(first) + curve(second) == curve(whole[1])
    ours, theirs = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (tmp_path, whole[0]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_an_adapter_knows_its_parts_and_answers_as_it_was_scored(whole, tools: Path) -> None:
    folder, events = whole
    predictor = Predictor.load(folder / "adapter")
    assert predictor.answers == "parts" and predictor.classes == ("hammer", "lollipop")
    assert predictor.config.part_names == (("handle", "head"), ("stick", "ball"))
    test = load(run_on(tools).data).test
    assert isinstance(test, PartClouds)
    scores = next(e for e in events if e.kind == "scores" and e.split == "test")
    ious = []
    for points, parts, label in zip(test.points, test.parts, test.labels):
        (answer,) = predictor.segment([points], predictor.classes[label], raw=True)
        assert answer.probabilities.shape == (64, 2) and np.allclose(answer.probabilities.sum(axis=1), 1, atol=1e-5)
        own = parts - 2 * label
        each = [np.mean((answer.parts == k) & (own == k)) / np.mean((answer.parts == k) | (own == k)) for k in (0, 1)]
        ious.append(np.mean(each))
    assert np.mean(ious) == pytest.approx(scores.accuracy, abs=1e-6)
    card = (folder / "adapter" / "README.md").read_text()
    assert "mIoU" in card and "stick, ball" in card and "segment(" in card
    assert events[-1].metric == "mIoU" and "accuracy" not in card


def test_every_point_of_a_larger_cloud_is_answered_in_its_order(whole) -> None:
    predictor = Predictor.load(whole[0] / "adapter")
    cloud = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    (answer,) = predictor.segment([cloud], "hammer")
    assert (len(answer.parts), answer.seen) == (500, 64)
    centred = cloud - cloud.mean(axis=0)
    assert np.allclose(answer.points, centred / np.linalg.norm(centred, axis=1).max(), atol=1e-5)
    with pytest.raises(UserError, match="Unknown category"):
        predictor.segment([cloud], "spoon")
    with pytest.raises(UserError, match="not its class"):
        predictor.predict([cloud])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "dapt", "idpt", "dapt-x"])
def test_parts_are_learned(kind: str, tmp_path: Path) -> None:
    """Two parts of each category by chance: a third; one part everywhere: about a quarter."""
    path = write_tools(tmp_path / "tools", per_category=40)
    changes = {"epochs": 20, "optim": {"lr": 5e-3}, "augment": {"kind": "none"}, "batch_size": 8}
    events = list(train(run_on(path, kind, **changes), tmp_path / "run", device="cpu"))
    assert events[-1].test_accuracy > 0.75


def test_scales_of_a_part_adapter_fold_into_its_backbone(whole, tmp_path: Path) -> None:
    merged = merge(whole[0] / "adapter", tmp_path / "merged")
    assert merged.folded and merged.difference < 1e-4
    cloud = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    before, after = (
        Predictor.load(f).segment([cloud], "hammer")[0] for f in (whole[0] / "adapter", tmp_path / "merged")
    )
    assert np.abs(before.logits - after.logits).max() < 1e-3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POINTSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_shapenetpart_as_it_lies_on_disk_in_a_zip_and_from_the_cache(tmp_path: Path, cache: Path) -> None:
    root = write_shapenetpart(tmp_path / "shapenetcore_partanno_segmentation_benchmark_v0_normal")
    config = ShapeNetPartData(path=root, preparation={"points": 64})
    dataset = load(config)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [8, 8, 8]  # type: ignore[arg-type]
    assert dataset.classes == tuple(SHAPENETPART) and sum(map(len, dataset.part_names)) == 50
    train_part = dataset.train
    assert isinstance(train_part, PartClouds) and train_part.points.shape == (8, 80, 3)
    assert dataset.test.points.shape == (8, 64, 3)  # type: ignore[union-attr]
    assert train_part.labels.tolist() == [0, 0, 4, 4, 11, 11, 15, 15]
    chair = np.loadtxt(root / "03001627" / "train0.txt")
    wanted = chair[:, :3] - chair[:, :3].mean(axis=0)
    wanted /= np.linalg.norm(wanted, axis=1).max()
    assert np.allclose(train_part.points[2], wanted, atol=1e-5) and train_part.parts[2].tolist() == chair[:, 6].tolist()
    kept = list((cache / "data").iterdir())
    assert len(kept) == 1
    assert load(config).fingerprint == dataset.fingerprint and list((cache / "data").iterdir()) == kept
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in root.rglob("*.*"):
            archive.write(file, Path(root.name) / file.relative_to(root))
    assert load(config.model_copy(update={"path": tmp_path / "set.zip"})).fingerprint == dataset.fingerprint
    both = load(config.model_copy(update={"lists": "trainval"}))
    assert both.validation is None and len(both.train) == 16


def test_one_step_from_the_published_layout(tmp_path: Path, cache: Path) -> None:
    root = write_shapenetpart(tmp_path / "set")
    data = {"kind": "shapenetpart", "path": str(root), "preparation": {"points": 64}}
    run = parse_config({**FIXED, "method": method_of("idpt"), "data": data, "epochs": 1, "batch_size": 8})
    events = list(train(run, tmp_path / "run", device="cpu"))
    assert events[-1].kind == "finished" and events[-1].metric == "mIoU"
    scores = next(e for e in events if e.kind == "scores" and e.split == "test")
    assert sum(value is not None for value in scores.per_class) == 4 and len(scores.per_part) == 50


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda root: (root / "03001627" / "test0.txt").unlink(), "missing, the first is"),
        (lambda root: (root / "03001627" / "test0.txt").write_text("1 2 3\n"), "not of ShapeNetPart's layout"),
        (lambda root: (root / "03001627" / "test0.txt").write_text("1 2 3 0 0 1 x\n"), "no number"),
        (lambda root: (root / "03001627" / "test0.txt").write_text("1 2 3 0 0 1 4\n" * 70), "does not have"),
        (lambda root: (root / "03001627" / "test0.txt").write_text("1 2 3 0 0 1 12.5\n" * 70), "no part's number"),
        (lambda root: (root / "03001627" / "test0.txt").write_text("nan 2 3 0 0 1 12\n" * 70), "NaN"),
        (lambda root: (root / "synsetoffset2category.txt").unlink(), "not ShapeNetPart"),
        (lambda root: (root / "synsetoffset2category.txt").write_text("Spoon 1\n"), "unknown category"),
        (lambda root: (root / "synsetoffset2category.txt").write_text("Chair\n"), "synsetoffset2category"),
        (lambda root: (root / "train_test_split" / "shuffled_val_file_list.json").write_text("[{"), "not valid JSON"),
        (
            lambda root: (root / "train_test_split" / "shuffled_val_file_list.json").write_text('["a/b/c"]'),
            "no category",
        ),
    ],
)
def test_broken_shapenetpart_is_refused_by_name(broken, said: str, tmp_path: Path, cache: Path) -> None:
    root = write_shapenetpart(tmp_path / "set")
    broken(root)
    with pytest.raises(UserError, match=said):
        load(ShapeNetPartData(path=root, preparation={"points": 64}))


def test_own_labels_in_a_column_by_name_or_in_a_file_beside(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    place, labels = rng.normal(size=(40, 3)), np.arange(40) % 2 * 5 + 2
    folder = tmp_path / "set" / "chair"
    folder.mkdir(parents=True)
    np.savetxt(folder / "a.txt", np.c_[place, labels])
    np.savetxt(folder / "b.csv", np.c_[labels, place], delimiter=",", header="part,x,y,z", comments="")
    np.savetxt(folder / "c.csv", np.c_[place, labels, place[:, 0]], delimiter=",", header="x,y,z,label,i", comments="")
    np.save(folder / "d.npy", np.c_[place, labels])
    np.savetxt(folder / "e.xyz", place)
    np.savetxt(folder / "e.seg", labels, fmt="%d")
    np.savetxt(folder / "nothing.xyz", place)
    np.savetxt(folder / "short.xyz", place)
    np.savetxt(folder / "short.labels", labels[:7])
    (folder / "empty.txt").write_text("")
    dataset = load(PartFolderData(path=tmp_path / "set", preparation={"points": 32}, test_share=0.25, validation=0.0))
    assert dataset.part_names == (("part 2", "part 7"),) and dataset.classes == ("chair",)
    assert isinstance(dataset.train, PartClouds) and len(dataset.train) == 4 and len(dataset.test) == 1  # type: ignore[arg-type]
    assert all(cloud.tolist() == (np.arange(40) % 2).tolist() for cloud in dataset.train.parts)
    said = "\n".join(dataset.notes)
    for reason in ("nothing.xyz has no labels", "short.xyz has not one label for each point", "empty.txt"):
        assert reason in said


def test_names_beside_own_labels_must_reach(tmp_path: Path) -> None:
    folder = write_tools(tmp_path / "set", 4)
    (folder / "parts.json").write_text('{"hammer": ["handle"]}')
    with pytest.raises(UserError, match="has no name"):
        load(PartFolderData(path=folder, preparation={"points": 32}))
    (folder / "parts.json").write_text("[]")
    with pytest.raises(UserError, match="another form"):
        load(PartFolderData(path=folder, preparation={"points": 32}))


def test_what_cannot_segment_is_refused_when_configured() -> None:
    data = {"kind": "shapenetpart", "path": "x"}
    with pytest.raises(UserError, match="cannot segment"):
        parse_config({"backbone": {"kind": "point-m2ae"}, "method": {"kind": "probe"}, "data": data})
    with pytest.raises(UserError, match="a head that classifies"):
        parse_config({"data": data, "head": {"kind": "mlp2"}})
    with pytest.raises(UserError, match="lists is trainval"):
        parse_config({"data": {**data, "lists": "trainval"}})
    with pytest.raises(UserError, match="no class token"):
        parse_config({"data": data, "head": {"parts": ["cls"]}})
    assert parse_config({"data": data}).backbone.class_token is False  # type: ignore[union-attr]
    assert parse_config({}).backbone.class_token is None  # type: ignore[union-attr]


def test_clouds_of_different_sizes_are_filled_up_with_their_own_points() -> None:
    clouds = [np.arange(9, dtype=np.float32).reshape(3, 3), np.arange(15, dtype=np.float32).reshape(5, 3)]
    made = gathered(clouds, [np.array([1, 2, 3]), np.arange(5)], [0, 1], ["a", "b"])
    assert made.points.shape == (2, 5, 3) and {tuple(p) for p in made.points[0]} == {tuple(p) for p in clouds[0]}
    assert all(part == point[0] // 3 + 1 for part, point in zip(made.parts[0], made.points[0]))
    fewer, more = judged(made, 4), judged(made, 8)
    assert fewer.points.shape == (2, 4, 3) and more.points.shape == (2, 8, 3)
    assert np.array_equal(judged(made, 4).points, fewer.points)
    assert len({tuple(p) for p in fewer.points[1]}) == 4
    assert made.take(np.array([1])).digests()[0] == made.digests()[1] != made.digests()[0]
