"""What a backbone is to the rest of the program: a config that builds it, and a shape that methods are sized by.

Shapes: B inputs, L tokens, G patches, D width. Where tokens may be inserted, they stand class token first (`lead` is 1
where there is one, else 0), prompts next, patches last: prompts = x[:, lead:-G], patches = x[:, -G:].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

from ..errors import UserError
from ..schema import Config
from .head import HeadKind, Part
from .transformer import Mlp
from .tuned import tuned

Modality = Literal["points", "images"]
Positions = Literal["every-block", "once"]


@dataclass(frozen=True)
class BlockShape:
    """One transformer block: its name among the backbone's modules, token width, heads, hidden width of its MLP."""

    name: str
    dim: int
    heads: int
    hidden: int

    def widths(self) -> dict[str, int]:
        """Return {operation: width of its answer} of the block's norms and linear layers."""
        inner = {
            "norm1": self.dim,
            "attn.qkv": 3 * self.dim,
            "attn.proj": self.dim,
            "norm2": self.dim,
            "mlp.fc1": self.hidden,
            "mlp.fc2": self.dim,
        }
        return {f"{self.name}.{name}": width for name, width in inner.items()}


@dataclass(frozen=True)
class TrunkShape:
    """All that a method has to know of a backbone, known before any weight exists."""

    title: str
    blocks: tuple[BlockShape, ...]
    """In the order in which they run."""
    embeds: tuple[tuple[str, int], ...]
    """(operation, width) of what makes tokens of patches."""
    norms: tuple[tuple[str, int], ...]
    """(operation, width) of the norms behind the last blocks."""
    dim: int
    """Width of the tokens that the head sees."""
    patches: int
    fresh: frozenset[str]
    """The class token's parameters where methods train them: most pre-training in 3D provides none."""
    insertable: bool
    """Whether prompts may be inserted: behind the class token, or in front where there is none."""
    lead: int
    """How many tokens stand before the prompts: the class token, or none."""
    levels: tuple[int, ...]
    """Numbers of the blocks, from 0, whose tokens a head for every point reads; empty where there is no such head."""
    pools: tuple[Part, ...]
    """What the published head joins when the method adds nothing to it."""
    head: HeadKind

    @property
    def widths(self) -> dict[str, int]:
        """{operation: width of its answer} of the norms and linear layers in all blocks."""
        return {name: width for block in self.blocks for name, width in block.widths().items()}

    def require_insertable(self, method: str, remedy: str = "") -> None:
        """Refuse a method that inserts prompts where the backbone's tokens have no place for them."""
        if not self.insertable:
            raise UserError(
                f"{method} inserts prompts among the tokens, and {self.title} has no place for them: "
                "it has no class token, its attention is local, and its tokens are pooled from stage to stage",
                remedy=remedy or "Choose adaptformer, adapter, lora, ssf, prefix, bitfit, norm-tuning, probe or full",
            )

    def require_levels(self) -> None:
        """Refuse to segment with a backbone that has no tokens of several depths for one set of patches."""
        if not self.levels:
            raise UserError(
                f"{self.title} cannot segment parts here: the head for every point reads one set of patches at three "
                "depths",
                remedy="Choose a point transformer such as demo, point-mae, recon, act or own",
            )


class TrunkConfig(Config):
    """Base of every backbone's settings."""

    modality: ClassVar[Modality] = "points"

    weights: str = Field(
        default="pretrained",
        description="`pretrained` (the file this backbone is named after), `random`, a path to .safetensors or .pth, "
        "or `included` (an imported adapter that carries its whole backbone)",
    )
    qkv_bias: bool = Field(
        default=False,
        description="queries, keys and values have a bias: none as published in 3D; folding a shift in makes one",
    )
    drop_path: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="stochastic depth of the last block; earlier ones less"
    )

    @property
    def shape(self) -> TrunkShape:
        raise NotImplementedError

    @property
    def least_points(self) -> int:
        """The fewest points a cloud may have."""
        return 1

    @property
    def unneeded(self) -> frozenset[str]:
        """Parameters that a weight file may hold and this backbone, as it is set, does without."""
        return frozenset()

    def example_size(self, points: int) -> tuple[int, ...]:
        """Return the shape of a batch of one input, a cloud of `points` points unless the backbone sees images."""
        return (1, points, 3)

    def build(self, positions: Positions) -> Trunk:
        """Return the backbone with fresh weights; `positions` is how the method was published."""
        raise NotImplementedError


class Trunk(nn.Module):
    """Inputs in, tokens (B, L, D) out, after the final norm. Points are (B, N, 3), images (B, 3, H, W)."""

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__()
        self.shape = shape
        self.recomputed: frozenset[str] = frozenset()

    @property
    def num_patches(self) -> int:
        return self.shape.patches

    def places(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (tokens (B, L, D), centres of the patches (B, G, 3) in the order of the patch tokens)."""
        raise NotImplementedError

    def read_levels(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return (the tokens (B, L, D) after each block of `shape.levels`, each after the final norm; centres)."""
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.places(inputs)[0]

    def prepare(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what slices of a batch are cut from, first axes B: whatever needs the whole batch has been done."""
        return (inputs,)

    def whole_batch(self) -> nn.Module | None:
        """Return the part that `prepare` runs on the whole batch, without a gradient; None where there is none."""
        return None

    def tokens_of(self, *prepared: Tensor) -> Tensor:
        """Return the tokens (B, L, D) of what `prepare` made, or of a slice of it."""
        return self(*prepared)

    def levels_of(self, *prepared: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what `read_levels` does, of what `prepare` made, or of a slice of it."""
        return self.read_levels(*prepared)

    def recompute(self, names: frozenset[str], mlps: frozenset[str] = frozenset()) -> None:
        """Have these blocks keep only their input while training; their insides are made again in the backward pass.

        In the blocks `mlps` only the insides of the feed-forward part are.
        """
        self.recomputed = names
        for block in self.shape.blocks:
            mlp = self.get_submodule(f"{block.name}.mlp")
            assert isinstance(mlp, Mlp)
            mlp.recomputed = block.name in mlps

    def run(self, name: str, block: nn.Module, x: Any, *context: Any) -> Any:
        """Return the answer of the block of this name, with its deltas; `context` as in `tuned`."""
        if name in self.recomputed and torch.is_grad_enabled():
            return checkpoint(tuned, block, x, *context, use_reentrant=False)  # pyright: ignore[reportUnknownVariableType]
        return tuned(block, x, *context)
