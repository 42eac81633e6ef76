"""The same work as published code does it, in plain torch: what the benchmarks hold ours against.

Written from the facts about those publications, without any of the ways to do it faster; no run ever uses it.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..models import grouping
from ..models.head import pool
from ..models.point_transformer import PointTransformer
from ..peft.tuned_model import Tuned
from .reference_methods import by_hand


def farthest_points(points: Tensor, groups: int) -> Tensor:
    """Farthest points as usually batched: whole (B, N, 3) differences, masked update, maximum. Indices (B, G)."""
    clouds, count, _ = points.shape
    batch = torch.arange(clouds, device=points.device)
    chosen = torch.zeros(clouds, groups, dtype=torch.int64, device=points.device)
    distance = torch.full((clouds, count), 1e10, device=points.device)
    current = torch.zeros(clouds, dtype=torch.int64, device=points.device)
    for g in range(groups):
        chosen[:, g] = current
        squares = ((points - points[batch, current].unsqueeze(1)) ** 2).sum(-1)
        nearer = squares < distance
        distance[nearer] = squares[nearer]
        current = distance.max(-1)[1]
    return chosen


def rows(points: Tensor, index: Tensor) -> Tensor:
    """Return the points (B, G, 3) at index (B, G)."""
    return points.gather(1, index.unsqueeze(-1).expand(-1, -1, points.shape[-1]))


def nearest(queries: Tensor, points: Tensor, size: int) -> Tensor:
    """The `size` nearest points of each query by a full matrix of distances: indices (B, G, K)."""
    return torch.cdist(queries, points).topk(size, largest=False, sorted=False).indices


def group(points: Tensor, groups: int, size: int) -> tuple[Tensor, Tensor]:
    """Centre indices (B, G) and neighbour indices (B, G, K) by the two functions above."""
    chosen = farthest_points(points, groups)
    return chosen, nearest(rows(points, chosen), points, size)


class Reference(nn.Module):
    """Points (B, N, 3) in, logits (B, C) out: the function of a model of ours, computed as published code does it.

    It holds its own copy of the model's parameters, so the same of them train. `own_grouping` gives it our centres and
    neighbours, for comparisons of the rest; else the two functions above serve.
    """

    def __init__(self, model: Tuned, *, own_grouping: bool = False) -> None:
        super().__init__()
        if not isinstance(model.trunk, PointTransformer):
            raise UserError("The reference model is a point transformer", got=type(model.trunk).__name__)
        self.model = copy.deepcopy(model)
        self.trunk: Any = self.model.trunk  # its parameters are reached by name, its own forward never runs
        self.own_grouping = own_grouping
        self.addition = by_hand(self.model.method, self.trunk.shape.lead, self.trunk.shape.patches)

    @property
    def penalty(self) -> Tensor | None:
        """What the method adds to the loss of the last pass."""
        return self.addition.penalty

    def forward(self, points: Tensor) -> Tensor:
        patches, centres = self.group(points)
        return self.answer(self.blocks(self.addition.embedded(self.embed(patches)), centres))

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return (patches (B, G, K, 3) relative to their centres, centres (B, G, 3))."""
        config = self.trunk.config
        if self.own_grouping:
            made = grouping.group(points, config.groups, config.group_size)
            chosen, index = made.centre_index, made.index
        else:
            chosen, index = group(points, config.groups, config.group_size)
        clouds, count, _ = points.shape
        centres = rows(points, chosen)
        flat = (index + torch.arange(clouds, device=points.device).view(-1, 1, 1) * count).view(-1)
        patches = points.reshape(clouds * count, -1)[flat, :].view(*index.shape, 3).contiguous()
        return patches - centres.unsqueeze(2), centres

    def embed(self, patches: Tensor) -> Tensor:
        """Tokens (B, G, D) of patches: 1x1 convolutions, the maximum expanded and joined, batch norms as they train."""
        b, g, k, _ = patches.shape
        local, merged = self.trunk.patch_embed.local, self.trunk.patch_embed.merged
        x = patches.reshape(b * g, k, 3).transpose(2, 1)
        x = _conv(local[3], F.relu(local[1](_conv(local[0], x)), inplace=True))
        whole = torch.max(x, dim=2, keepdim=True)[0]
        x = torch.cat([whole.expand(-1, -1, k), x], dim=1)
        x = _conv(merged[3], F.relu(merged[1](_conv(merged[0], x)), inplace=True))
        return self.trunk.patch_embed.reduce_dim(torch.max(x, dim=2, keepdim=False)[0].reshape(b, g, -1))

    def blocks(self, x: Tensor, centres: Tensor) -> Tensor:
        """Tokens (B, L, D) behind the last block and the final norm."""
        trunk, addition, lead = self.trunk, self.addition, self.trunk.shape.lead
        addition.begin()
        position = trunk.pos_embed(centres)
        if lead:
            x = torch.cat((trunk.cls_token.expand(len(x), -1, -1), x), dim=1)
            position = torch.cat((trunk.cls_pos.expand(len(x), -1, -1), position), dim=1)
        x = addition.tokens(x)
        every = trunk.positions == "every-block"
        x = x if every else x + self._position(x, position)
        for i, block in enumerate(trunk.blocks):
            x = self._block(i, block, x + self._position(x, position) if every else x)
        return addition.final(trunk.norm(x))

    def _position(self, x: Tensor, position: Tensor) -> Tensor:
        lead, prompts = self.trunk.shape.lead, x.shape[1] - position.shape[1]
        nothing = position.new_zeros(len(position), prompts, position.shape[2])
        return torch.cat((position[:, :lead], nothing, position[:, lead:]), dim=1)

    def _block(self, i: int, block: Any, x: Tensor) -> Tensor:
        add = self.addition
        z = add.op(i, "norm1", x, block.norm1(x))
        x = x + block.drop_path(add.attended(i, self._attention(i, block.attn, z)))
        z = add.op(i, "norm2", x, block.norm2(x))
        hidden = F.gelu(add.op(i, "fc1", z, block.mlp.fc1(z)))
        y = add.op(i, "fc2", hidden, block.mlp.fc2(hidden))
        return add.block(i, x + block.drop_path(add.fed(i, x, z, y)))

    def _attention(self, i: int, attn: Any, x: Tensor) -> Tensor:
        b, length, width = x.shape
        heads = attn.heads.heads
        qkv = self.addition.op(i, "qkv", x, attn.qkv(x))
        q, k, v = qkv.reshape(b, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        weights = ((q @ k.transpose(-2, -1)) * (width // heads) ** -0.5).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).reshape(b, length, width)
        return self.addition.op(i, "proj", mixed, attn.proj(mixed))

    def answer(self, tokens: Tensor) -> Tensor:
        head: Any = self.model.head
        parts = [pool(tokens, part, self.trunk.shape.patches, head.lead) for part in head.parts]
        return head.layers(torch.cat(parts, dim=-1))


class ReferenceStep:
    """One training step of the published loops: forward, backward, clipping, AdamW tensor by tensor.

    `faithful` adds what their loops do besides: anomaly detection, farthest point sampling of all N points followed by
    a random order, augmentation cloud by cloud, and a wait for loss and accuracy in every step.
    """

    def __init__(self, model: Tuned, *, faithful: bool = False, own_grouping: bool = False, lr: float = 5e-4) -> None:
        self.reference = Reference(model, own_grouping=own_grouping).train()
        self.faithful = faithful
        self.trained = [parameter for parameter in self.reference.parameters() if parameter.requires_grad]
        decayed = [parameter for parameter in self.trained if parameter.dim() > 1]
        plain = [parameter for parameter in self.trained if parameter.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([one for one in groups if one["params"]], lr=lr, foreach=False, fused=False)

    def __call__(self, points: Tensor, labels: Tensor) -> Tensor:
        """Take one step on clouds (B, N, 3) with labels (B,); return the loss."""
        self.optimizer.zero_grad()
        loss = self.backward(self.prepare(points) if self.faithful else points, labels)
        torch.nn.utils.clip_grad_norm_(self.trained, 10.0, norm_type=2, foreach=False)
        self.optimizer.step()
        return loss

    def backward(self, points: Tensor, labels: Tensor) -> Tensor:
        """Leave the gradients of one batch; return the loss."""
        with torch.autograd.detect_anomaly(check_nan=True) if self.faithful else nullcontext():
            logits = self.reference(points)
            loss = F.cross_entropy(logits, labels)
            penalty = self.reference.penalty
            loss = loss if penalty is None else loss + penalty
            loss.backward()
        if self.faithful:
            loss.item()
            ((logits.argmax(-1) == labels).sum() / len(labels)).item()
        return loss.detach()

    def prepare(self, points: Tensor) -> Tensor:
        """Sample all points by distance, order them at random, then scale and shift each cloud by itself."""
        count = points.shape[1]
        points = rows(points, farthest_points(points, count))
        points = points[:, np.random.default_rng().permutation(count)]
        return scale_and_shift(points)


def scale_and_shift(points: Tensor) -> Tensor:
    """Scale and shift each cloud by three random factors and offsets, in a loop over the batch, as published."""
    points, generator = points.clone(), np.random.default_rng()
    for i in range(len(points)):
        scale = generator.uniform(low=2.0 / 3.0, high=3.0 / 2.0, size=3)
        shift = generator.uniform(low=-0.2, high=0.2, size=3)
        changed = torch.mul(points[i, :, 0:3], torch.from_numpy(scale).float().to(points.device))
        points[i, :, 0:3] = changed + torch.from_numpy(shift).float().to(points.device)
    return points


def _conv(layer: Any, x: Tensor) -> Tensor:
    return F.conv1d(x, layer.weight.unsqueeze(-1), layer.bias)
