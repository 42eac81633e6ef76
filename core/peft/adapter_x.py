"""Adapter-X: any adapter as the expert of a shared mixture, with per-block norms and a Prompt Generator.

arXiv 2406.03051 leaves several points open; the defaults are the reading under which every parameter count that the
paper prints comes out: the Prompt Generator's scale and shift act per sub-token, the second norm trains in every block.
The other readings are options.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import UserError
from ..models.head import Part
from ..models.trunk import Positions, TrunkShape
from ..models.tuned import Delta
from .bottleneck import Bottleneck, DynamicAdapter
from .method import Method, MethodConfig, SlicePhase, with_prompts
from .mixture import Router, Routing, SharedMixture, balance, first_choices
from .scale_shift import ScaleShift


class MixtureConfig(MethodConfig):
    """What the three members of the family share; the source is arXiv 2406.03051, section 3."""

    source: ClassVar[str] = "Adapter-X (arXiv 2406.03051), section 3"
    rank: int = Field(
        default=64, ge=1, le=1024, description="width of each expert's bottleneck, and of the router's space"
    )
    heads: int = Field(default=3, ge=1, le=64, description="sub-tokens that each token is cut into, routed one by one")
    experts: int = Field(default=4, ge=1, le=64, description="experts that the router chooses from")
    expert: Literal["bottleneck", "dynamic"] = Field(
        default="bottleneck", description="dynamic: with DAPT's scale and norm"
    )
    place: Literal["parallel", "serial"] = Field(
        default="parallel", description="beside the feed-forward part, or behind it"
    )
    routing: Routing = Field(
        default="top-1", description="top-1: the best expert times its gate (figure 2); dense: all (eq. 3)"
    )
    scale: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="factor on the mixture's answer; the paper states none (AdaptFormer: 0.1)",
    )
    score: Literal["dot", "cosine"] = Field(
        default="dot",
        description="how well an expert suits a sub-token: dot product with its embedding (equation 5); cosine of both "
        "over `temperature` (X-MoE)",
    )
    temperature: float = Field(default=0.07, gt=0, le=100, description="divides cosine scores; X-MoE learns it")
    normalise_experts: bool = Field(default=True, description="expert embeddings of unit length (equation 5)")
    shared: bool = Field(
        default=True, description="one mixture for all blocks (of one width); off: one each, the paper's ablation"
    )
    balance: float = Field(default=0.01, ge=0, le=10, description="factor on the balance loss")
    balance_over_blocks: Literal["mean", "sum"] = Field(
        default="mean", description="how blocks' balance losses are joined"
    )
    prompts: Literal["per-block", "shared", "none"] = Field(
        default="per-block", description="the Prompt Generator's parameters"
    )
    prompt_width: Literal["sub-token", "token"] = Field(
        default="sub-token", description="what its scale and shift act on"
    )
    prompt_tokens: Literal["all", "patches"] = Field(
        default="all", description="what its mean is taken over: all tokens, or patches without class token and prompts"
    )
    prompt_gelu: bool = Field(default=False, description="GELU before the mean, as DAPT's prompts have")
    tune_norm2: bool = Field(default=True, description="train the second norm of every block")
    tfts: bool = Field(
        default=False, description="keep DAPT's scale and shift on every operation (the paper's ablation table)"
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="dropout inside the experts while training")

    def folded(self) -> MethodConfig:
        return self.model_copy(update={"tfts": False}) if self.tfts else super().folded()

    def check(self, shape: TrunkShape) -> None:
        if self.prompts != "none":
            shape.require_insertable(f"{self.title}'s Prompt Generator", "Set method.prompts to none")
        for dim in sorted({block.dim for block in shape.blocks}):
            if dim % self.heads:
                raise UserError(
                    f"A token of width {dim} cannot be cut into method.heads sub-tokens",
                    got=self.heads,
                    expected=f"a divisor of {dim}",
                )

    def build(self, shape: TrunkShape) -> Method:
        return AdapterX(self, shape)

    def head_parts(self, shape: TrunkShape) -> tuple[Part, ...]:
        return shape.pools if self.prompts == "none" else with_prompts(shape, "prompt-mean")

    def level_pools(self, shape: TrunkShape) -> tuple[Part, ...]:
        return super().level_pools(shape) if self.prompts == "none" else ("prompt-mean", "patch-max")


class AdapterXConfig(MixtureConfig):
    """Serial bottleneck experts behind the feed-forward part (the paper's 2D "Adapter-X")."""

    title: ClassVar[str] = "Adapter-X"
    kind: Literal["adapter-x"] = "adapter-x"
    place: Literal["parallel", "serial"] = Field(
        default="serial", description="beside the feed-forward part, or behind it"
    )


class AdaptFormerXConfig(MixtureConfig):
    """Bottleneck experts in parallel to the feed-forward part (the paper's 2D "AdaptFormer-X")."""

    title: ClassVar[str] = "AdaptFormer-X"
    kind: Literal["adaptformer-x"] = "adaptformer-x"


class DAPTXConfig(MixtureConfig):
    """Dynamic Adapters as experts (the paper's 3D method): 0.42 M parameters, 1.88 % of Point-MAE."""

    title: ClassVar[str] = "DAPT-X"
    positions: ClassVar[Positions] = "once"
    kind: Literal["dapt-x"] = "dapt-x"
    expert: Literal["bottleneck", "dynamic"] = Field(
        default="dynamic", description="dynamic: with DAPT's scale and norm"
    )
    rank: int = Field(
        default=32, ge=1, le=1024, description="width of each expert's bottleneck, and of the router's space"
    )


class MixtureBlock(nn.Module):
    """The rows of one block: add the mixture's answer, and insert its mean as a prompt behind the class token."""

    def __init__(
        self, mixture: SharedMixture, generator: ScaleShift | None, config: MixtureConfig, shape: TrunkShape
    ) -> None:
        super().__init__()
        self.lead = shape.lead
        # Lists hide modules: a shared one has one owner and is saved once.
        self._shared: list[SharedMixture | ScaleShift | None] = [mixture, generator]
        self.balances = config.balance > 0
        self.place, self.gelu = config.place, config.prompt_gelu
        self.scale, self.pooled = config.scale, shape.patches if config.prompt_tokens == "patches" else 0
        self.width_parts = config.heads if config.prompt_width == "sub-token" else 1
        self._update: Tensor | None = None
        self._balance: Tensor | None = None
        self._asked = False
        self._counts: list[Tensor] = []
        self._share: Tensor | None = None
        self._counting = False

    def see_slices(self, phase: SlicePhase | None) -> None:
        """Count first choices in the first phase; in the second, balance with the shares of the whole batch."""
        counts, self._counts = self._counts, []
        total = torch.stack(counts).sum(dim=0) if counts else None
        self._share = total / total.sum() if phase == "second" and total is not None else None
        self._counting = phase == "first"

    def ask(self) -> None:
        """Have the next pass, and only it, leave its balance term: one that is recomputed must not leave another."""
        self._asked = True

    def take_balance(self) -> Tensor | None:
        taken, self._balance = self._balance, None
        return taken

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        mixture = self._shared[0]
        assert isinstance(mixture, SharedMixture)
        update, gates = mixture(y if self.place == "serial" else x)
        if self.scale != 1.0:
            update = self.scale * update
        if self._counting and self.balances:
            self._counts.append(first_choices(gates))
        elif self.balances and torch.is_grad_enabled():
            term = balance(gates, self._share)  # made again where the block is: its gradient needs it
            if self._asked:  # but left only once
                self._balance, self._asked = term, False
        if self._shared[1] is not None:
            self._update = update
        return y + update

    def insert_prompt(self, x: Tensor, y: Tensor) -> Tensor:
        update, self._update = self._update, None
        generator = self._shared[1]
        assert update is not None and isinstance(generator, ScaleShift)
        update = update[:, -self.pooled :]  # all, where it is 0
        pooled = (F.gelu(update) if self.gelu else update).mean(dim=1)
        parts = pooled.view(len(pooled), self.width_parts, -1)
        prompt = generator(None, parts).reshape(len(pooled), 1, -1)
        return torch.cat([y[:, : self.lead], prompt.to(y.dtype), y[:, self.lead :]], dim=1)


class AdapterX(Method):
    def __init__(self, config: MixtureConfig, shape: TrunkShape) -> None:
        super().__init__(shape.fresh)
        self.config = config
        self.names = [block.name for block in shape.blocks]
        self.first = shape.embeds[0][0]
        widths = [block.dim for block in shape.blocks]
        made = list(dict.fromkeys(widths)) if config.shared else widths
        self.mixtures = nn.ModuleList(_mixture(config, dim) for dim in made)
        width = shape.dim // config.heads if config.prompt_width == "sub-token" else shape.dim
        count = {"per-block": len(widths), "shared": 1, "none": 0}[config.prompts]
        self.generators = nn.ModuleList(ScaleShift(width) for _ in range(count))
        self.rows = [
            MixtureBlock(
                self.mixtures[made.index(dim) if config.shared else i],  # type: ignore[arg-type]
                self._generator(i),
                config,
                shape,
            )
            for i, dim in enumerate(widths)
        ]
        places = dict(shape.embeds) | shape.widths | dict(shape.norms) if config.tfts else {}
        self.tfts_names = list(places)
        self.tfts = nn.ModuleList(ScaleShift(width) for width in places.values()) if config.tfts else None

    def _generator(self, block: int) -> ScaleShift | None:
        if not len(self.generators):
            return None
        found = self.generators[min(block, len(self.generators) - 1)]
        assert isinstance(found, ScaleShift)
        return found

    def attachments(self) -> Iterator[tuple[str, Delta]]:
        yield self.first, self.ask_for_balance
        if self.tfts is not None:
            yield from zip(self.tfts_names, self.tfts)
        for name, row in zip(self.names, self.rows):
            yield f"{name}.mlp", row.add_update
            if len(self.generators):
                yield name, row.insert_prompt

    def tunes(self, name: str) -> bool:
        return super().tunes(name) or (self.config.tune_norm2 and ".norm2." in name)

    def ask_for_balance(self, x: Tensor, y: Tensor) -> Tensor:
        """Before the blocks of a training pass: have each leave its balance term."""
        if self.training and self.config.balance:
            for row in self.rows:
                row.ask()
        return y

    def see_slices(self, phase: SlicePhase | None) -> None:
        for row in self.rows:
            row.see_slices(phase)

    def penalty(self) -> Tensor | None:
        """Return the balance loss of the last pass's blocks, times its factor."""
        terms = [term for row in self.rows if (term := row.take_balance()) is not None]
        if not terms:
            return None
        whole = torch.stack(terms)
        return self.config.balance * (whole.mean() if self.config.balance_over_blocks == "mean" else whole.sum())


def _mixture(config: MixtureConfig, dim: int) -> SharedMixture:
    width = dim // config.heads

    def expert() -> nn.Module:
        if config.expert == "dynamic":
            return DynamicAdapter(width, config.rank, config.dropout)
        return Bottleneck(width, config.rank, activation="relu", dropout=config.dropout)

    experts = [expert() for _ in range(config.experts)]
    temperature = config.temperature if config.score == "cosine" else None
    router = Router(width, config.rank, config.experts, normalise=config.normalise_experts, temperature=temperature)
    return SharedMixture(experts, router, config.heads, config.routing)
