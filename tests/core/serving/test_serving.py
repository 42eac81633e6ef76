"""Serving: answers of adapters together are those of each alone, for every method, and memory has its limits."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread

import numpy as np
import psutil
import pytest
import torch
from pointsmith.core.adapters import describe, save_adapter
from pointsmith.core.building import build
from pointsmith.core.config import RunConfig, choices
from pointsmith.core.errors import UserError
from pointsmith.core.explain import explain
from pointsmith.core.predict import Predictor
from pointsmith.core.serving.pool import Place, TrunkPool
from pointsmith.core.serving.server import Server

from tests.support.processes import PATIENCE, join
from tests.support.tiny import BACKBONES, inputs_for, tiny_run

CLASSES = tuple("abcde")
INSERTING = {"dapt", "idpt", "vpt", "noah"}
VARIANTS: dict[str, dict[str, object]] = {
    **{kind: {"kind": kind} for kind in sorted(choices("method"))},
    "idpt": {"kind": "idpt", "neighbours": 4},
    "dapt-x dense": {"kind": "dapt-x", "routing": "dense"},
    "dapt-x cosine tfts": {"kind": "dapt-x", "score": "cosine", "tfts": True},
    "adapter-x dense": {"kind": "adapter-x", "routing": "dense", "shared": False},
    "adaptformer-x shared prompts": {"kind": "adaptformer-x", "prompts": "shared", "prompt_width": "token"},
    "lora everywhere": {"kind": "lora", "targets": ["qkv", "proj", "fc1", "fc2"], "rank": 1},
    "ssf ends": {"kind": "ssf", "ends": True},
    "vpt shallow": {"kind": "vpt", "depth": "shallow"},
    "bitfit all": {"kind": "bitfit", "where": "all"},
    "adapter both": {"kind": "adapter", "places": "both", "train_cls": True},
}
PAIRS = [
    (name, place)
    for place in BACKBONES
    for name, method in VARIANTS.items()
    if (place != "point-m2ae" or method["kind"] not in INSERTING)
    and (place == "point-transformer" or name == method["kind"])
]


def run_of(name: str, place: str, **changes: object) -> RunConfig:
    method = dict(VARIANTS[name])
    if place == "point-m2ae" and "prompts" in choices("method")[str(method["kind"])].model_fields:
        method["prompts"] = "none"
    return tiny_run(method, backbone=BACKBONES[place], **changes)


def saved(folder: Path, run: RunConfig, number: int, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write an adapter whose every number differs from those of other numbers, also its statistics of batch norms."""
    built = build(run, len(classes))
    generator = torch.Generator().manual_seed(number)
    for name, tensor in built.model.adapter_state().items():
        if tensor.is_floating_point():
            moved = 0.1 * torch.randn(tensor.shape, generator=generator)
            tensor.add_(moved.abs() if name.endswith("var") else moved)
            if name.endswith("scale.bias"):  # the gate of the dynamic adapter, open for every token
                tensor.fill_(1.0 + 0.1 * number)
    save_adapter(folder, built, describe(built, run, classes))
    return folder


@pytest.fixture
def pool() -> TrunkPool:
    return TrunkPool(torch.device("cpu"))


@pytest.mark.parametrize(("name", "place"), PAIRS, ids=[f"{name} on {place}" for name, place in PAIRS])
def test_adapters_in_one_batch_answer_as_each_alone(name: str, place: str, pool: TrunkPool, tmp_path: Path) -> None:
    run = run_of(name, place)
    folders = [saved(tmp_path / str(i), run, i) for i in range(3)]
    inputs = inputs_for(run.backbone, 6)
    lanes = [2, 0, 1, 1, 0, 2]
    alone = [Predictor.load(folder).model for folder in folders]
    found = [pool.find(Place(folder)) for folder in folders]
    family = found[0][0]
    assert all(one is family for one, _ in found) and pool.counts == (1, 3)
    assert family.own_lanes == (VARIANTS[name]["kind"] != "full")
    with torch.inference_mode():
        expected = torch.cat([alone[lane](inputs[i : i + 1]) for i, lane in enumerate(lanes)])
    for size in (6, 4):  # a smaller batch meets lanes that others have used
        logits, centres = family.answer([found[lane][1] for lane in lanes[:size]], inputs[:size])
        assert centres.shape[0] == size
        torch.testing.assert_close(logits, expected[:size], atol=1e-5, rtol=1e-5)
    for lane in (1, 2):
        of_one, _ = family.answer([found[lane][1]] * 6, inputs)
        mine = [i for i in range(6) if lanes[i] == lane]
        torch.testing.assert_close(of_one[mine], expected[mine], atol=1e-5, rtol=1e-5)
    first, second = alone[0](inputs[:1]), alone[1](inputs[:1])
    assert not torch.allclose(first, second, atol=1e-3), "a test that adapters are told apart needs different ones"


@pytest.mark.parametrize("name", ["dapt", "ssf ends", "lora everywhere", "noah", "adapter"])
def test_a_folded_adapter_answers_alike_and_leaves_the_backbone_alone(
    name: str, pool: TrunkPool, tmp_path: Path
) -> None:
    run = run_of(name, "point-transformer")
    folders = [saved(tmp_path / str(i), run, i) for i in range(2)]
    inputs = inputs_for(run.backbone, 3)
    with torch.inference_mode():
        expected = [Predictor.load(folder).model(inputs) for folder in folders]
    family, held = pool.find(Place(folders[0], fold=True))
    rows = len(list(family.model.method.attachments()))
    left = sum(len(getattr(module, "deltas", ())) for module in family.model.trunk.modules())
    fused = sum(getattr(m.__dict__.get("kernel"), "scale_shift", None) is not None for m in family.model.modules())
    assert left + fused < rows or name == "adapter"
    torch.testing.assert_close(family.answer([held] * 3, inputs)[0], expected[0], atol=1e-5, rtol=1e-5)
    other, second = pool.find(Place(folders[1]))
    assert other is not family and other.resident is family.resident
    torch.testing.assert_close(other.answer([second] * 3, inputs)[0], expected[1], atol=1e-5, rtol=1e-5)


def test_a_server_answers_visitors_at_once_as_one_by_one(tmp_path: Path) -> None:
    run = run_of("dapt", "point-transformer")
    other = run_of("lora", "point-transformer")
    folders = [saved(tmp_path / str(i), run if i % 2 else other, i) for i in range(4)]
    rng = np.random.default_rng(0)
    clouds = [rng.standard_normal((size, 3)).astype(np.float32) for size in (64, 64, 70, 80)]
    expected = [[Predictor.load(folder).predict([cloud])[0] for cloud in clouds] for folder in folders]
    server = Server(most_inputs=4)
    served = [server.open(folder) for folder in folders]
    sizes: list[int] = []
    work = server.queue._work

    def counted(batch):
        sizes.append(sum(len(asked.inputs) for asked in batch))
        return work(batch)

    server.queue._work = counted
    asked = [(i % 4, i // 4 % 4) for i in range(64)]
    with ThreadPoolExecutor(50) as visitors:
        answers = list(visitors.map(lambda pair: served[pair[0]].predict([clouds[pair[1]]])[0], asked))
    for (adapter, cloud), answer in zip(asked, answers):
        np.testing.assert_allclose(answer.logits, expected[adapter][cloud].logits, atol=1e-5, rtol=1e-5)
        assert answer.label == expected[adapter][cloud].label and answer.total_points == len(clouds[cloud])
        np.testing.assert_array_equal(answer.patch, expected[adapter][cloud].patch)
    assert sum(sizes) == 64 and max(sizes) <= 4 and len(sizes) < 64
    assert server.pool.counts == (1, 4)  # the trunk's positions differ by method, its tensors do not
    many = served[0].predict(clouds[:2] * 5)
    np.testing.assert_allclose(many[8].logits, expected[0][0].logits, atol=1e-5, rtol=1e-5)
    server.close()
    with pytest.raises(UserError, match="has been closed"):
        served[0].predict(clouds[:1])


def test_too_many_waiting_are_refused_and_failures_reach_who_asked(tmp_path: Path) -> None:
    run = run_of("probe", "point-transformer")
    folder = saved(tmp_path / "a", run, 0)
    server = Server(most_inputs=1, most_waiting=3)
    served = server.open(folder)
    cloud = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    taken, work = Event(), server.queue._work

    def answers(batch):
        taken.set()
        return work(batch)

    server.queue._work = answers
    with ThreadPoolExecutor(8) as visitors:
        with served.alone():  # nobody else is answered meanwhile
            waiting = [visitors.submit(served.predict, [cloud])]
            assert taken.wait(60)  # from here on, whoever comes waits behind it
            waiting += [visitors.submit(served.predict, [cloud]) for _ in range(3)]
            deadline = time.monotonic() + 60
            while len(server.queue._waiting) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            with pytest.raises(UserError, match="Busy: 3 requests are waiting"):
                visitors.submit(served.predict, [cloud]).result(60)
            assert np.isfinite(served.predict([cloud])[0].logits).all()  # who is alone does not queue
        assert len({one.result(20).__getitem__(0).label for one in waiting}) == 1

    def fails(batch):
        raise MemoryError("no room")

    server.queue._work = fails
    with pytest.raises(MemoryError, match="no room"):
        served.predict([cloud])
    server.close()


def test_the_least_used_adapters_are_forgotten_and_read_again(tmp_path: Path) -> None:
    run = run_of("dapt", "point-transformer")
    folders = [saved(tmp_path / str(i), run, i) for i in range(4)]
    server = Server()
    served = [server.open(folder) for folder in folders]
    assert server.pool.counts == (1, 4)
    _, held = server.pool.find(Place(folders[0]))
    alone = server.pool.bytes - 4 * held.bytes
    server.pool.most_bytes = alone + 2 * held.bytes
    cloud = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    for one, folder in zip(served, folders):
        expected = Predictor.load(folder).predict([cloud])[0]
        np.testing.assert_allclose(one.predict([cloud])[0].logits, expected.logits, atol=1e-5, rtol=1e-5)
    server.open(saved(tmp_path / "new", run, 9))
    assert server.pool.counts == (1, 2) and server.pool.bytes <= server.pool.most_bytes
    expected = Predictor.load(folders[0]).predict([cloud])[0]
    np.testing.assert_allclose(served[0].predict([cloud])[0].logits, expected.logits, atol=1e-5, rtol=1e-5)
    server.close()


def test_what_does_not_fit_is_refused(pool: TrunkPool, tmp_path: Path) -> None:
    run = run_of("dapt", "point-transformer")
    folder = saved(tmp_path / "a", run, 0)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(UserError, match="not the one this adapter was trained on"):
        pool.find(Place(folder))
    folder = saved(tmp_path / "b", run, 0)
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        pool.find(Place(folder))
    with pytest.raises(UserError, match="No adapter in"):
        pool.find(Place(tmp_path / "nowhere"))


def test_adapters_of_parts_are_asked_one_by_one_on_one_backbone(tmp_path: Path) -> None:
    data = {"kind": "parts", "path": "tools", "preparation": {"points": 64}}
    run = tiny_run({"kind": "dapt", "rank": 4}, backbone={**BACKBONES["point-transformer"], "depth": 3}, data=data)
    names = (("stick", "head"), ("handle", "top"))
    for i in range(2):
        built = build(run, 2, 4)
        for name, tensor in built.model.adapter_state().items():
            if tensor.is_floating_point():
                tensor.add_(
                    0.1 * (i + 1) * (torch.rand_like(tensor) if name.endswith("var") else torch.randn_like(tensor))
                )
        save_adapter(tmp_path / str(i), built, describe(built, run, ("hammer", "lollipop"), part_names=names))
    server = Server()
    served = [server.open(tmp_path / str(i)) for i in range(2)]
    assert server.pool.counts == (1, 2) and not server.pool.find(served[0].place)[0].own_lanes
    cloud = np.random.default_rng(0).standard_normal((80, 3)).astype(np.float32)
    with ThreadPoolExecutor(4) as visitors:
        found = list(visitors.map(lambda i: served[i % 2].segment([cloud], "lollipop")[0], range(8)))
    for i in range(8):
        expected = Predictor.load(tmp_path / str(i % 2)).segment([cloud], "lollipop")[0]
        np.testing.assert_allclose(found[i].logits, expected.logits, atol=1e-5, rtol=1e-5)
    server.close()


def test_a_server_starts_without_what_compiles(tmp_path: Path) -> None:
    """Models are put together without numbers first, without PyTorch's symbolic half, which takes seconds to load."""
    folder = saved(tmp_path / "a", run_of("idpt", "point-transformer"), 0)
    code = (
        "import sys, numpy; from pointsmith.core.serving.server import Server\n"
        "Server().open(sys.argv[1]).predict([numpy.random.default_rng(0).random((64, 3), numpy.float32)])\n"
        "print([one for one in ('sympy', 'torch._dynamo', 'torch._inductor') if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout.strip() == "[]"


def test_a_served_adapter_explains_itself(tmp_path: Path) -> None:
    run = run_of("dapt-x", "point-transformer")
    folder = saved(tmp_path / "a", run, 0)
    server = Server()
    cloud = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    mine, plain = explain(server.open(folder), cloud), explain(Predictor.load(folder), cloud)
    assert mine.gates is not None and plain.gates is not None
    np.testing.assert_allclose(mine.gates, plain.gates, atol=1e-5)
    np.testing.assert_allclose(mine.answer.logits, plain.answer.logits, atol=1e-5)
    server.close()


class Growth:
    """How much memory a process takes inside of it beyond what it had; what it had freed is given back before."""

    def __enter__(self) -> Growth:
        gc.collect()
        if sys.platform == "linux":  # else what was freed before would serve, and nothing be seen of it
            ctypes.CDLL(None).malloc_trim(0)
        self.most, self._done = 0, Event()
        self._thread = Thread(target=self._watch)
        self._before = psutil.Process().memory_info().rss
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.most = max(self.most, psutil.Process().memory_info().rss - self._before)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        join([self._thread])


@pytest.mark.slow
def test_fifty_visitors_take_the_memory_of_one_batch(tmp_path: Path) -> None:
    backbone = {"kind": "own", "weights": "random", "dim": 192, "depth": 2, "heads": 3, "groups": 64}
    data = {"kind": "demo", "preparation": {"points": 1024}}
    run = tiny_run({"kind": "dapt", "rank": 8}, backbone=backbone, data=data)
    server = Server(most_inputs=4)
    served = [server.open(saved(tmp_path / str(i), run, i)) for i in range(5)]
    clouds = np.random.default_rng(0).standard_normal((50, 1024, 3)).astype(np.float32)
    with ThreadPoolExecutor(8) as visitors:  # the lanes are made, and the allocator has seen a full batch
        list(visitors.map(lambda i: served[i % 5].predict([clouds[i]]), range(16)))
    together = Barrier(50)

    def visit(i: int) -> int:
        together.wait(60)
        return len(served[i % 5].predict([clouds[i]]))

    with Growth() as gathered, ThreadPoolExecutor(50) as visitors:
        assert sum(visitors.map(visit, range(50))) == 50
    family, held = server.pool.find(served[0].place)
    with Growth() as at_once:
        family.answer([held] * 50, torch.from_numpy(clouds))
    server.close()
    assert gathered.most < 60e6 and gathered.most < at_once.most


@pytest.mark.parametrize("name", ["dapt", "dapt-x", "lora", "vpt", "prefix", "bitfit all", "ssf ends", "idpt"])
def test_bf16_moves_logits_by_little(name: str, tmp_path: Path) -> None:
    run = run_of(name, "point-transformer")
    folders = [saved(tmp_path / str(i), run, i) for i in range(2)]
    inputs = inputs_for(run.backbone, 4)
    answers: dict[str, torch.Tensor] = {}
    for precision in ("float32", "bf16"):
        pool = TrunkPool(torch.device("cpu"), precision=precision)
        found = [pool.find(Place(folder)) for folder in folders]
        mixed, _ = found[0][0].answer([found[i % 2][1] for i in range(4)], inputs)
        alone, _ = found[0][0].answer([found[1][1]] * 4, inputs)
        answers[precision] = torch.cat([mixed, alone])
    assert answers["bf16"].dtype == torch.float32
    moved = (answers["bf16"] - answers["float32"]).abs().max() / answers["float32"].abs().max()
    assert 0 < moved < 0.05  # the sizes are tiny, so that rounding weighs more than in a published backbone
