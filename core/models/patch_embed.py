"""The mini-PointNet that turns each local group of points into one token."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Embed groups of centred points, (B, G, K, 3) to (B, G, D), or of tokens of width `inputs` instead of points.

    Two shared layers, the group's maximum joined to every point, two more, the maximum again (Point-BERT, section 3;
    Point-MAE, section 3.1). Written with linear layers on the last axis: the published 1x1 convolutions, transposed.
    `token_dim` adds a projection from that width to `dim` behind it, Point-BERT's `reduce_dim`.
    """

    def __init__(
        self,
        dim: int,
        widths: tuple[int, int, int] = (128, 256, 512),
        token_dim: int | None = None,
        *,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        first, local, merged = widths
        out = token_dim or dim
        self.local = nn.Sequential(
            nn.Linear(inputs, first), nn.BatchNorm1d(first), nn.ReLU(inplace=True), nn.Linear(first, local)
        )
        self.merged = nn.Sequential(
            nn.Linear(2 * local, merged), nn.BatchNorm1d(merged), nn.ReLU(inplace=True), nn.Linear(merged, out)
        )
        self.reduce_dim = nn.Linear(out, dim) if token_dim is not None else nn.Identity()
        self.written_out = False

    @torch.no_grad()
    def absorb(self, gamma: Tensor, beta: Tensor) -> None:
        """Make a scale and a shift (D,) of the tokens part of the last layer.

        A negative scale turns a group's maximum into a minimum: then a projection behind the maximum takes it.
        """
        last = self.reduce_dim
        if isinstance(last, nn.Identity) and bool((gamma <= 0).any()):
            last = self.reduce_dim = nn.Linear(len(gamma), len(gamma))
            last.weight.copy_(torch.eye(len(gamma)))
            nn.init.zeros_(last.bias)
        scale_output(last if isinstance(last, nn.Linear) else self.merged[-1], gamma, beta)  # type: ignore[arg-type]

    def forward(self, groups: Tensor, sparing: bool = False) -> Tensor:
        """Return tokens (B, G, D); `sparing` asks a kernel (see `tuned`) to keep less meanwhile, at the same answer."""
        b, g, k, inputs = groups.shape
        features = self.local(groups.reshape(-1, inputs)).view(b * g, k, -1)
        pooled = features.amax(dim=1)
        if self.written_out:  # as the publications count it, see `flops`
            both = torch.cat([pooled[:, None].expand_as(features), features], dim=-1)
            return self.reduce_dim(self.merged(both.flatten(0, 1)).view(b * g, k, -1).amax(dim=1)).view(b, g, -1)
        joined: nn.Linear = self.merged[0]  # type: ignore[assignment]
        width = pooled.shape[-1]
        # The group's maximum is the same for all K points: its half of the product is computed once per group.
        whole = F.linear(pooled, joined.weight[:, :width], joined.bias)
        each = F.linear(features, joined.weight[:, width:])
        features = self.merged[1:](each.add_(whole[:, None]).flatten(0, 1)).view(b * g, k, -1)
        return self.reduce_dim(features.amax(dim=1)).view(b, g, -1)


@torch.no_grad()
def scale_output(layer: nn.Linear | nn.LayerNorm | nn.Conv2d, gamma: Tensor, beta: Tensor) -> None:
    """Give a layer new weights (the old tensors stay as they are) so that it answers gamma * y + beta."""
    weight = layer.weight * gamma.view(-1, *(1,) * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(weight, requires_grad=False)
    bias = beta.clone() if layer.bias is None else layer.bias * gamma + beta  # pyright: ignore[reportUnnecessaryComparison]
    layer.bias = nn.Parameter(bias, requires_grad=False)
