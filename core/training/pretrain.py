"""Self-supervised pre-training of a backbone on unlabelled clouds: generated shapes, or a folder of your scans."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save

from ..config import OptimConfig
from ..data.augment import AugmentConfig, augment, permute_points
from ..data.unlabelled import GeneratedShapes, UnlabelledData, load_unlabelled
from ..durable import write_synced
from ..errors import UserError
from ..events import Checkpoint, Event, Interrupted, Note, Pretrained, Stage, Step
from ..models.backbones import OwnBackboneConfig
from ..models.files import fingerprint
from ..models.masked import MaskedAutoencoder
from ..models.point_transformer import PointTransformer
from ..schema import Config
from .checkpoint import Checkpoints, State
from .device import pick_device, pick_precision
from .optimizer import make_optimizer
from .schedule import learning_rate
from .stepping import Steps, computing_in, seed_step
from .train import never

BACKBONE_NAME = "backbone.safetensors"


class PretrainConfig(Config):
    """Everything a pre-training is determined by."""

    backbone: OwnBackboneConfig = OwnBackboneConfig()
    data: UnlabelledData = GeneratedShapes()
    points: int = Field(default=1024, ge=16, le=65536, description="points per cloud")
    mask_ratio: float = Field(default=0.6, gt=0, lt=1, description="share of patches that are hidden")
    decoder_depth: int = Field(
        default=4, ge=1, le=24, description="blocks of the decoder, which is thrown away afterwards"
    )
    augment: AugmentConfig = AugmentConfig(kind="rotate-scale-shift")
    optim: OptimConfig = OptimConfig(lr=1e-3, warmup_epochs=1.0)
    epochs: int = Field(default=30, ge=1, le=10000, description="passes over the clouds")
    batch_size: int = Field(default=64, ge=2, le=4096, description="clouds per step")
    precision: Literal["auto", "float32", "bf16"] = "auto"
    half_file: bool = Field(default=False, description="write the weights as float16, half the size")
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of initialisation, order, masks and augmentation"
    )


def pretrain(
    config: PretrainConfig, folder: Path, *, device: str = "auto", stop: Callable[[], bool] = never
) -> Iterator[Event]:
    """Pre-train as `config` says and yield what happens; ends with `Pretrained`, or `Interrupted` after `stop`.

    Resumes from `folder/checkpoint`; the backbone is written to `folder/backbone.safetensors`. UserError for what the
    user can mend.
    """
    if config.points < config.backbone.least_points:
        raise UserError(
            "points is too small for the backbone", got=config.points, expected=f"≥ {config.backbone.least_points}"
        )
    yield Stage(stage="data", message=f"Loading {config.data.kind} clouds")
    clouds, notes = load_unlabelled(config.data, config.points)
    for note in notes:
        yield Note(message=note)
    yield from _Pretrainer(config, folder, clouds, pick_device(device)).run(stop)


class _Pretrainer:
    def __init__(self, config: PretrainConfig, folder: Path, clouds: np.ndarray, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.precision = pick_precision(config.precision, device)
        self.clouds = torch.from_numpy(clouds).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            trunk = PointTransformer(config.backbone)
            model = MaskedAutoencoder(trunk, decoder_depth=config.decoder_depth, mask_ratio=config.mask_ratio)
        self.model = model.to(device).train()
        self.optimizer = make_optimizer(self.model, config.optim.lr, config.optim.weight_decay)
        self.waits = device.type == "cpu"  # for each step's numbers: a GPU must not
        self.steps = Steps(self.optimizer, [p for _, p in self.model.trainable()], config.optim.clip)
        self.batch = min(config.batch_size, len(clouds))
        self.steps_per_epoch = len(clouds) // self.batch
        self.checkpoints = Checkpoints(folder)
        self.state = State(config=config.model_dump_json())

    def run(self, stop: Callable[[], bool]) -> Iterator[Event]:
        found = self.checkpoints.read(self.state.config, PretrainConfig)
        if found:
            self.state = found
            self.checkpoints.restore(found, self.model, self.optimizer)
            yield Note(message=f"Resumed after epoch {found.epoch}")
        yield Stage(stage="train", message=f"{len(self.clouds)} clouds on {self.device}, {self.precision}")
        last = self.state.best_loss
        while self.state.epoch < self.config.epochs:
            begun = time.perf_counter()
            yield from self._epoch(stop, begun)
            if self.state.batch < self.steps_per_epoch:
                # Asked to stop inside an epoch: the checkpoint of the epoch before is what counts.
                yield Interrupted(step=self.state.step, epoch=self.state.epoch)
                return
            last = self._end_epoch(time.perf_counter() - begun)
            yield Note(message=f"Epoch {self.state.epoch}: loss {last:.5f}")
            self.checkpoints.write(self.state, self.model, self.optimizer)
            yield Checkpoint(step=self.state.step, epoch=self.state.epoch)
        yield self._save(last)

    def _end_epoch(self, seconds: float) -> float:
        state = self.state
        loss = state.loss_sum / state.seen
        state.epoch, state.best_loss, state.seconds = state.epoch + 1, loss, state.seconds + seconds
        state.batch, state.loss_sum, state.seen = 0, 0.0, 0
        return loss

    def _epoch(self, stop: Callable[[], bool], begun: float) -> Iterator[Event]:
        state, config = self.state, self.config
        order = torch.from_numpy(np.random.default_rng([config.seed, 1, state.epoch]).permutation(len(self.clouds)))
        every = max(1, self.steps_per_epoch // 20)
        while state.batch < self.steps_per_epoch and not stop():
            chosen = order[state.batch * self.batch : (state.batch + 1) * self.batch].to(self.device)
            lr = self._step(chosen)
            state.step, state.batch = state.step + 1, state.batch + 1
            told = state.batch % every == 0
            if not (told or state.batch == self.steps_per_epoch or self.waits):
                continue
            rows = self.steps.read()
            for row in rows:
                state.loss_sum, state.seen = state.loss_sum + row[0] * self.batch, state.seen + self.batch
            if told:
                loss, norm = rows[-1]
                took = (time.perf_counter() - begun) / state.batch
                left = (config.epochs - state.epoch) * self.steps_per_epoch - state.batch
                yield Step(
                    step=state.step,
                    epoch=state.epoch + 1,
                    loss=loss,
                    lr=lr,
                    grad_norm=norm,
                    clouds_per_second=self.batch / took,
                    eta_seconds=took * left,
                )

    def _step(self, chosen: torch.Tensor) -> float:
        """Take one optimiser step, whose numbers wait to be read; return the learning rate."""
        config, state = self.config, self.state
        generator = seed_step(config.seed, state.step, self.device)
        points = augment(permute_points(self.clouds[chosen], config.points, generator), config.augment, generator)
        lr = learning_rate(config.optim, step=state.step, steps_per_epoch=self.steps_per_epoch, epochs=config.epochs)
        self.steps.set_learning_rate(lr)
        with computing_in(self.precision, self.device):
            loss = self.model(points, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.steps.keep(state.step + 1, self.steps.advance(loss))
        return lr

    def _save(self, loss: float) -> Pretrained:
        unused = ("cls_token", "cls_pos")
        tensors = {
            k: v.detach().cpu().contiguous() for k, v in self.model.trunk.state_dict().items() if k not in unused
        }
        if self.config.half_file:
            tensors = {name: v.half() if v.is_floating_point() else v for name, v in tensors.items()}
        about = {"format": "pt", "pretrain": self.config.model_dump_json(), "loss": json.dumps(loss)}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_synced(self.folder / BACKBONE_NAME, save(tensors, metadata=about))
        return Pretrained(
            file=BACKBONE_NAME,
            sha256=fingerprint({name: v.float() if v.is_floating_point() else v for name, v in tensors.items()}),
            loss=loss,
            epochs=self.state.epoch,
            seconds=self.state.seconds,
        )
