"""Masked autoencoding of point patches: the self-supervised task that the backbones are pre-trained with."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .point_transformer import PointTransformer
from .transformer import initialise, make_blocks
from .tuned import tuned


class MaskedAutoencoder(nn.Module):
    """Hide most patches of a cloud, rebuild their points from the others (Point-MAE, ECCV 2022, section 3).

    The trunk sees visible patches only and no class token; a light decoder, thrown away later, sees all positions.
    Shapes: B clouds, G patches of K points, V visible of them, M = G - V hidden.
    """

    def __init__(self, trunk: PointTransformer, *, decoder_depth: int = 4, mask_ratio: float = 0.6) -> None:
        super().__init__()
        config = trunk.config
        self.trunk, self.hidden = trunk, round(mask_ratio * config.groups)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.decoder_pos = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, config.dim))
        self.decoder = make_blocks(config.dim, decoder_depth, config.heads, config.mlp_ratio, config.drop_path)
        self.decoder_norm = nn.LayerNorm(config.dim)
        self.rebuild = nn.Linear(config.dim, 3 * config.group_size)
        for part in (self.decoder_pos, self.decoder, self.decoder_norm, self.rebuild):
            initialise(part)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean Chamfer distance (squared, both ways) of the hidden patches of clouds (B, N, 3)."""
        patches, centres = self.trunk.group(points)
        hidden, visible = self._mask(patches, generator)
        seen = self._encode(_pick(patches, visible), _pick(centres, visible))
        places = torch.cat([_pick(centres, visible), _pick(centres, hidden)], dim=1)
        x = torch.cat([seen, self.mask_token.expand(len(points), self.hidden, -1)], dim=1)
        position = self.decoder_pos(places)
        for block in self.decoder:
            x = block(x + position)
        rebuilt = self.rebuild(self.decoder_norm(x[:, -self.hidden :]))
        wanted = _pick(patches, hidden).flatten(0, 1)
        return chamfer(rebuilt.view(wanted.shape), wanted)

    def _mask(self, patches: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        b, g = patches.shape[:2]
        order = torch.rand(b, g, generator=generator, device=patches.device).argsort(dim=1)
        return order[:, : self.hidden], order[:, self.hidden :]

    def _encode(self, patches: Tensor, centres: Tensor) -> Tensor:
        """Return the trunk's tokens (B, V, D) of visible patches, positions before every block as published."""
        trunk = self.trunk
        x, position = tuned(trunk.patch_embed, patches), trunk.pos_embed(centres)
        for block in trunk.blocks:
            x = tuned(block, x + position)
        return tuned(trunk.norm, x)

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what trains: all but the class token, which the task never uses."""
        for name, parameter in self.named_parameters():
            if name not in ("trunk.cls_token", "trunk.cls_pos"):
                yield name, parameter

    def saved_state(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}

    def load_saved(self, state: dict[str, Tensor], subject: str) -> None:
        self.load_state_dict(state)


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Return values (B, G, …) at index (B, M)."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean over pairs of clouds (P, K, 3) of the squared Chamfer distance, both directions added."""
    distance = (a[:, :, None] - b[:, None]).square().sum(dim=-1)
    return distance.amin(dim=2).mean() + distance.amin(dim=1).mean()
