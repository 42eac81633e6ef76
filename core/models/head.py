"""From tokens to class scores: which tokens are pooled how, and the layers after them."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..schema import Config

Part = Literal[
    "cls",
    "prompt-mean",
    "prompt-max",
    "prompt-first",
    "prompt-last",
    "patch-max",
    "patch-mean",
    "patch-sum",
    "rest-max",
]
HeadKind = Literal["mlp3", "mlp2", "linear"]


class HeadConfig(Config):
    """The head. The default is the papers': its layers from the task and the backbone, its inputs from the method."""

    kind: HeadKind | None = Field(
        default=None,
        description="mlp3: three layers with batch norm (the papers'); mlp2: Point-BERT's own; linear: one layer; "
        "empty: as the backbone was published; parts of objects have a head of their own",
    )
    parts: tuple[Part, ...] | None = Field(
        default=None,
        description="what is joined: class token, prompts, patches (their mean, maximum, or the sum of both), "
        "or the rest: all patches but the first; for parts it is what each point learns of the whole cloud; "
        "empty: as the method was published",
    )
    hidden: int = Field(default=256, ge=1, le=4096, description="width of the hidden layers, the last one's for parts")
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0, description="dropout between them while training")


def pool(tokens: Tensor, part: Part, patches: int, lead: int = 1) -> Tensor:
    """Return (B, D) of one part of the tokens (B, L, D): `lead` (the class token), prompts, and `patches` at the end.

    The "rest" leaves the first patch out: Point-M2AE's heads for ScanObjectNN kept the slice of models whose first
    token is a class token.
    """
    if part == "cls":
        return tokens[:, 0]
    where, how = part.split("-")
    chosen = tokens[:, lead:-patches] if where == "prompt" else tokens[:, -patches:]
    if where == "rest":
        chosen = chosen[:, 1:]
    if how in ("first", "last"):
        return chosen[:, 0 if how == "first" else -1]
    if how == "sum":
        return chosen.mean(dim=1) + chosen.amax(dim=1)
    return chosen.mean(dim=1) if how == "mean" else chosen.amax(dim=1)


class Float32(nn.Sequential):
    """Layers that compute in float32 or finer, under autocast too: few, behind batch norms that enlarge rounding."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(  # pyright: ignore[reportUnknownVariableType]
                input.to(torch.promote_types(input.dtype, torch.float32))
            )


class ClassificationHead(nn.Module):
    """Tokens (B, L, D) in, logits (B, C) out (Point-MAE's `cls_head_finetune`)."""

    def __init__(
        self,
        config: HeadConfig,
        parts: tuple[Part, ...],
        dim: int,
        classes: int,
        *,
        kind: HeadKind = "mlp3",
        lead: int = 1,
    ) -> None:
        super().__init__()
        self.lead = lead
        kind = config.kind or kind
        self.parts = parts
        width, hidden = dim * len(parts), config.hidden
        if kind == "linear":
            layers: list[nn.Module] = [nn.Linear(width, classes)]
        elif kind == "mlp2":
            layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(hidden, classes)]
        else:
            layers = []
            for inputs in (width, hidden):
                layers += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            layers.append(nn.Linear(hidden, classes))
        self.layers = Float32(*layers)

    def read(self, tokens: Tensor, patches: int) -> Tensor:
        """Return all that the layers see of the tokens, (B, parts * D)."""
        return torch.cat([pool(tokens, part, patches, self.lead) for part in self.parts], dim=1)

    def forward(self, tokens: Tensor, patches: int) -> Tensor:
        return self.layers(self.read(tokens, patches))
