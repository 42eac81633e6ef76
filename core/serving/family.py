"""Adapters of one method and one set of sizes on one backbone: two models, whose weights are rows of numbers.

One model has room for one adapter. The other has lanes: input i of a batch meets the adapter in row i, by products of
stacked weights. Both use the backbone's own tensors; what an adapter keeps of the backbone is in its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..adapters import AdapterConfig
from ..building import assemble
from ..config import RunConfig
from ..fast.accelerate import accelerate, plain
from ..models.shapes_only import shapes_only
from ..models.tuned import Delta, Foldable
from ..peft.part_model import TunedForParts
from ..peft.tuned_model import Tuned, put_tensor
from ..training.stepping import computing_in
from .flat import Layout, Slot
from .lanes import LANE_WISE, stacked_shape
from .resident import Resident

_OWN_SHARE = 0.25
"""Adapters that keep more than this share of the backbone are as good as backbones: they answer one after another."""


@dataclass(frozen=True, eq=False)
class Held:
    """An adapter in memory: its row (P,) float32, and a digest of what it keeps of the embedding of patches."""

    config: AdapterConfig
    row: Tensor
    embedding: bytes

    @property
    def bytes(self) -> int:
        return self.row.numel() * self.row.element_size()


class Family:
    """See the module; not for several threads at once."""

    def __init__(
        self, resident: Resident, run: RunConfig, sizes: tuple[int, int], *, precision: str, device: torch.device
    ) -> None:
        self.resident, self.run, self.sizes = resident, run, sizes
        self.precision, self.device = precision, device
        self.model = self._assembled()
        self.layout = Layout(self.model.adapter_state())
        self.wanted = self.model.adapter_state()
        self._row = torch.zeros(1, self.layout.width, device=device)
        for slot, tensor in self.layout.views(self._row):
            put_tensor(self.model, slot.name, _as_in(self.model, slot.name, tensor[0]))
        accelerate(self.model, precision, device)
        self._occupant: Held | None = None
        self._embeds = tuple(f"trunk.{name}." for name, _ in self.model.trunk.shape.embeds)
        self._lanes: Lanes | None = None

    def _assembled(self) -> Tuned:
        trunk = self.resident.shell(self.run)
        with shapes_only():  # all that is made here is replaced by views of a row
            model = assemble(self.run, self.sizes[0], trunk, self.resident.loaded.initialised, parts=self.sizes[1])
        for name, buffer in list(model.named_buffers()):
            if buffer.is_meta:
                put_tensor(model, name, torch.zeros(buffer.shape, dtype=buffer.dtype, device=self.device))
        return model.requires_grad_(False).eval()

    @property
    def own_lanes(self) -> bool:
        """Whether inputs of different adapters can share a batch; if not, each adapter's inputs make batches."""
        kept = sum(slot.stop - slot.start for slot in self.layout.slots if slot.name.startswith("trunk."))
        whole = sum(parameter.numel() for parameter in self.model.trunk.parameters())
        return (
            not isinstance(self.model, TunedForParts)
            and kept <= _OWN_SHARE * whole
            and all(self._knows_lanes(slot) for slot in self.layout.slots)
        )

    def _knows_lanes(self, slot: Slot) -> bool:
        if slot.name.startswith(self._embeds):
            return True
        return stacked_shape(_owner(self.model, slot.name), slot.shape) is not None

    def hold(self, config: AdapterConfig, state: dict[str, Tensor]) -> Held:
        """Return an adapter of this family in memory; its names and shapes have been checked against `wanted`."""
        digest = hashlib.sha256()
        for slot in self.layout.slots:
            if slot.name.startswith(self._embeds):
                digest.update(state[slot.name].contiguous().numpy().tobytes())
        return Held(config, self.layout.pack(state, self.device), digest.digest())

    def occupy(self, held: Held) -> Tuned:
        """Return the model with this adapter: a copy of its row."""
        if self._occupant is not held:
            self._row.copy_(held.row)
            self._occupant = held
        return self.model

    @torch.no_grad()
    def fold(self, held: Held) -> bool:
        """Make this adapter's deltas a part of the backbone's layers where they can be; False where that is not exact.

        For a family of one adapter, which is of no use after False. Layers get new weights, the resident's stay as they
        are. Exact is an answer to random inputs that moved by at most 1e-5 of the largest logit.
        """
        model = self.occupy(held)
        plain(model)
        inputs = torch.randn(self.run.example_size(), generator=torch.Generator().manual_seed(0)).to(self.device)
        before, _ = answer_of(model, inputs, "float32", self.device)
        for name, delta in list(model.method.attachments()):
            if isinstance(delta, Foldable):
                operation = model.trunk.get_submodule(name)
                delta.fold(operation)
                left = tuple(one for one in getattr(operation, "deltas", ()) if one is not delta)
                object.__setattr__(operation, "deltas", left)
        after, _ = answer_of(model, inputs, "float32", self.device)
        accelerate(model.requires_grad_(False), self.precision, self.device)
        return float((before - after).abs().max()) <= 1e-5 * max(1.0, float(before.abs().max()))

    @torch.inference_mode()
    def answer(self, chosen: Sequence[Held], inputs: Tensor, most: int = 8) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) float32 and centres (B, G, 3) of inputs (B, …), each by the adapter chosen for it."""
        if len({id(held) for held in chosen}) == 1:
            return self._of_one(chosen[0], inputs)
        order = sorted(range(len(chosen)), key=lambda i: (chosen[i].embedding, id(chosen[i])))
        parts: list[tuple[Tensor, Tensor]] = []
        for some in self._batches(order, chosen, most):
            picked = [chosen[i] for i in some]
            one = len({id(held) for held in picked}) == 1
            part = inputs[some]
            parts.append(self._of_one(picked[0], part) if one else self.lanes(most).answer(picked, part))
        back = torch.tensor(order, device=self.device).argsort()
        return torch.cat([logits for logits, _ in parts])[back], torch.cat([centres for _, centres in parts])[back]

    def _batches(self, order: list[int], chosen: Sequence[Held], most: int) -> list[list[int]]:
        if self.own_lanes:
            return [order[i : i + most] for i in range(0, len(order), most)]
        return [list(some) for _, some in groupby(order, key=lambda i: id(chosen[i]))]

    def _of_one(self, held: Held, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return answer_of(self.occupy(held), inputs, self.precision, self.device)

    def lanes(self, most: int) -> Lanes:
        """Return the model with room for `most` adapters, made when first asked for."""
        if self._lanes is None or self._lanes.most < most:
            self._lanes = Lanes(self._assembled(), self.layout, most, precision=self.precision, device=self.device)
        return self._lanes


class Lanes:
    """A model in which input i meets the adapter of lane i."""

    def __init__(self, model: Tuned, layout: Layout, most: int, *, precision: str, device: torch.device) -> None:
        self.model, self.layout, self.most = model, layout, most
        self.precision, self.device = precision, device
        self._rows = torch.zeros(most, layout.width, device=device)
        self._held: list[Held | None] = [None] * most
        self._count = 0
        self._accelerate()
        for name, module in modules_of(model):
            if type(module) in LANE_WISE and (not name.startswith("trunk.") or self._keeps(name)):
                # The same module, wherever it is referred to, with code that knows of lanes.
                object.__setattr__(module, "__class__", LANE_WISE[type(module)])
                module.__dict__.pop("kernel", None)

    def _accelerate(self) -> None:
        """Speed up the trunk alone: a kernel that takes a delta in would take in a single adapter's."""
        trunk = self.model.trunk
        deltas: dict[nn.Module, tuple[Delta, ...]] = {}
        for module in trunk.modules():
            if "deltas" in module.__dict__:
                deltas[module] = module.__dict__.pop("deltas")
        accelerate(self.model, self.precision, self.device)
        for module, rows in deltas.items():
            object.__setattr__(module, "deltas", rows)
        self._embeds: list[PerAdapter] = []
        for name, _ in trunk.shape.embeds:
            slots = [slot for slot in self.layout.slots if slot.name.startswith(f"trunk.{name}.")]
            if slots:
                operation = trunk.get_submodule(name)
                kernel = PerAdapter(operation.__dict__.get("kernel"), slots, self.model)
                object.__setattr__(operation, "kernel", kernel)
                self._embeds.append(kernel)

    def _keeps(self, name: str) -> bool:
        """Whether this module of the trunk, outside of the embeddings, has tensors that an adapter keeps."""
        inside = any(name.startswith(f"trunk.{embed}.") for embed, _ in self.model.trunk.shape.embeds)
        return not inside and any(slot.name.rpartition(".")[0] == name for slot in self.layout.slots)

    def answer(self, chosen: Sequence[Held], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, C) float32 and centres (n, G, 3) of n <= `most` inputs."""
        for lane, held in enumerate(chosen):
            if self._held[lane] is not held:
                self._rows[lane].copy_(held.row)
                self._held[lane] = held
        if self._count != len(chosen):
            self._resize(len(chosen))
        runs: list[tuple[int, int]] = []
        for _, some in groupby(range(len(chosen)), key=lambda lane: chosen[lane].embedding):
            lanes = list(some)
            runs.append((lanes[0], lanes[-1] + 1))
        for kernel in self._embeds:
            kernel.runs, kernel.rows = runs, self._rows
        return answer_of(self.model, inputs, self.precision, self.device)

    @torch.inference_mode(False)
    def _resize(self, count: int) -> None:
        """Have the modules see the first `count` lanes."""
        self._count = count
        embeds = tuple(f"trunk.{name}." for name, _ in self.model.trunk.shape.embeds)
        for slot, tensor in self.layout.views(self._rows[:count]):
            if slot.name.startswith(embeds):
                continue
            shape = stacked_shape(_owner(self.model, slot.name), slot.shape)
            assert shape is not None, slot.name
            put_tensor(self.model, slot.name, _as_in(self.model, slot.name, tensor.view(count, *shape)))


class PerAdapter:
    """The kernel of an embedding of patches that adapters keep parts of: once for each run of lanes that agree in it.

    It is the one operation that gains nothing from a larger batch: a cloud's patches fill the processor as they are.
    """

    def __init__(self, kernel: Any, slots: list[Slot], model: nn.Module) -> None:
        self.kernel, self.slots = kernel, slots
        self.model = [model]  # a list, so that this is no part of the model that it is in
        self.runs: list[tuple[int, int]] = []
        self.rows = torch.zeros(0)

    def __call__(self, operation: nn.Module, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for start, stop in self.runs:
            for slot in self.slots:
                tensor = self.rows[start, slot.start : slot.stop].view(slot.shape)
                put_tensor(self.model[0], slot.name, _as_in(self.model[0], slot.name, tensor))
            part = x[start:stop]
            found.append(operation(part) if self.kernel is None else self.kernel(operation, part))
        return torch.cat(found)


def modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(cast("Iterable[tuple[str, nn.Module]]", model.named_modules()))


def answer_of(model: Tuned, inputs: Tensor, precision: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return logits (B, C) float32 and centres (B, G, 3) of inputs (B, …)."""
    with computing_in(precision, device):
        tokens, centres = model.trunk.places(inputs)
        return model.head(tokens, model.trunk.num_patches).float(), centres


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _as_in(model: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Return the tensor as the parameter or the buffer that it takes the place of."""
    owner, leaf = _owner(model, name), name.rpartition(".")[2]
    return nn.Parameter(tensor, requires_grad=False) if leaf in owner._parameters else tensor  # pyright: ignore[reportPrivateUsage]
