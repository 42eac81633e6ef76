"""The frozen mini-PointNet in pieces that stay in the processor's cache, its batch norms made part of its products.

Nothing of it is kept but the tokens; the plain one makes 16 MB of features on the way for a cloud of 128 groups of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..models.patch_embed import PatchEmbed
from .multiply import Library, computed_in, multiply
from .sums import column_sums

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

M = TypeVar("M", bound=nn.Module)

_GROUPS = {"cpu": 64, "cuda": 4096}
"""Groups at a time: what fits into a processor's cache, or fills a GPU."""

_KEPT_BYTES = 2**29
"""As much may be kept of the features between the statistics of the second batch norm and what follows it."""

_LEAST_SCALE = 1e-20
"""What a batch norm's scale counts for where it is nearer to zero: its channel is then constant to every digit."""


class FrozenEmbed:
    """The kernel (see `tuned`) of a `PatchEmbed` of points of which nothing trains; computes in `dtype`
    under autocast.

    Batch norms in training mode take the batch's statistics and move their own as `nn.BatchNorm1d` does. Those of the
    first follow from the mean and covariance of the points alone; those of the second need a pass over its features,
    which are kept for what follows, or made again where they are too many or the call is `sparing`. Answers float32.
    """

    def __init__(self, dtype: torch.dtype, library: Library) -> None:
        self.dtype = dtype
        self.library: Library = library

    def __call__(self, operation: PatchEmbed, groups: Tensor, sparing: bool = False) -> Tensor:
        b, g, k, inputs = groups.shape
        if operation.written_out or inputs != 3 or (groups.requires_grad and torch.is_grad_enabled()):
            with torch.autocast(groups.device.type, enabled=False):  # in bf16 a maximum takes another of near equals
                return operation(groups.float())
        dtype = computed_in(self.dtype, groups)
        with torch.no_grad(), torch.autocast(groups.device.type, enabled=False):
            tokens = _Pass(operation, dtype, self.library, 0 if sparing else _KEPT_BYTES).embed(
                groups.reshape(b * g, k, 3).float()
            )
            return operation.reduce_dim(tokens).view(b, g, -1)


class _Layer:
    """A linear layer made ready: weight (O, I) and bias (O,) in the dtype of the products, from float64."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, library: Library) -> None:
        self.weight = weight.to(dtype)
        self.library: Library = library
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return multiply(x, self.weight, self.bias, self.library)


class _Pass:
    """One pass of groups (M, K, 3) through a tokenizer: M groups of K points."""

    def __init__(self, operation: PatchEmbed, dtype: torch.dtype, library: Library, most_kept: int) -> None:
        self.dtype = dtype
        self.library: Library = library
        self.most_kept = most_kept
        self.first, self.second = _part(operation.local, 0, nn.Linear), _part(operation.local, 3, nn.Linear)
        self.joined, self.last = _part(operation.merged, 0, nn.Linear), _part(operation.merged, 3, nn.Linear)
        self.norm1, self.norm2 = (_part(part, 1, nn.BatchNorm1d) for part in (operation.local, operation.merged))

    def embed(self, groups: Tensor) -> Tensor:
        """Return tokens (M, D) float32."""
        chunks = groups.split(_GROUPS.get(groups.device.type, 4096))
        # The second norm is |scale| * p + shift of p = sign(scale) * (features - origin), and sign and origin are known
        # before its statistics are. The origin is near the mean, so that squares about it do not cancel.
        sign = torch.where(self.norm2.weight < 0, -1.0, 1.0).double()
        origin = _buffer(self.norm2, "running_mean").clone()
        features = self._features(groups, sign, origin)
        kept: list[Tensor] = []
        mean, variance = torch.zeros_like(origin), _buffer(self.norm2, "running_var")
        if self.norm2.training:
            rows = groups.shape[0] * groups.shape[1]
            keeps = rows * len(sign) * self.dtype.itemsize <= self.most_kept
            mean, variance = self._statistics(chunks, features, kept if keeps else None)
            _move(self.norm2, origin + sign * mean, variance, rows)
        scale = (self.norm2.weight.double() / (variance + self.norm2.eps).sqrt()).abs().clamp_min(_LEAST_SCALE)
        # relu(scale * p + shift) = scale * (max(p, floor) - floor): a maximum, and the rest is the last layer's.
        floor = (mean - self.norm2.bias.double() / scale).to(self.dtype)
        last = self._layer(self.last.weight.double() * scale, None)
        rest = self.last.bias.double() - last.weight.double() @ floor.double()
        made = kept or map(features, chunks)
        tokens = [last(torch.maximum(p, floor, out=p).flatten(0, 1)).unflatten(0, p.shape[:2]).amax(1) for p in made]
        return torch.cat(tokens).float() + rest.float()

    def _features(self, groups: Tensor, sign: Tensor, origin: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from groups (m, K, 3) to p (m, K, C), see `embed`."""
        weight, bias = self._first(groups)
        first, second = self._layer(weight, bias), self._layer(self.second.weight, self.second.bias)
        weight, width = self.joined.weight.double() * sign[:, None], len(self.second.weight)
        whole = self._layer(weight[:, :width], (self.joined.bias.double() - origin) * sign)
        each = self._layer(weight[:, width:], None)

        def features(some: Tensor) -> Tensor:
            m, k, _ = some.shape
            x = second(first(some.flatten(0, 1).to(self.dtype)).relu_())
            pooled = x.view(m, k, -1).amax(dim=1)
            return each(x).view(m, k, -1).add_(whole(pooled)[:, None])

        return features

    def _first(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias, float64, of the first layer with its norm."""
        weight, bias, norm = self.first.weight.double(), self.first.bias.double(), self.norm1
        if norm.training:
            points = groups.flatten(0, 1).double()
            middle = points.mean(dim=0)
            points = points - middle
            mean = weight @ middle + bias
            variance = ((weight @ (points.T @ points / len(points))) * weight).sum(dim=1)
            _move(norm, mean, variance, len(points))
        else:
            mean, variance = _buffer(norm, "running_mean"), _buffer(norm, "running_var")
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        return weight * scale[:, None], (bias - mean) * scale + norm.bias.double()

    def _statistics(
        self, chunks: Sequence[Tensor], features: Callable[[Tensor], Tensor], kept: list[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance (C,) float64 of p over all points; what was made is appended to `kept`."""
        sums = torch.zeros(2, len(self.joined.weight), dtype=torch.float64, device=self.joined.weight.device)
        rows = 0
        for some in chunks:
            p = features(some)
            sums += torch.stack(column_sums(p.flatten(0, 1), p.flatten(0, 1)))
            rows += len(p) * p.shape[1]
            if kept is not None:
                kept.append(p)
        mean, square = sums / rows
        return mean, square - mean * mean

    def _layer(self, weight: Tensor, bias: Tensor | None) -> _Layer:
        return _Layer(weight, bias, self.dtype, self.library)


def _part(parts: nn.Sequential, place: int, kind: type[M]) -> M:
    found = parts[place]
    assert isinstance(found, kind), f"a tokenizer of other parts: {found}"
    return found


def _buffer(norm: nn.BatchNorm1d, name: str) -> Tensor:
    found = getattr(norm, name)
    assert isinstance(found, Tensor), "a batch norm without running statistics"
    return found.double()


def _move(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, rows: int) -> None:
    """Move a norm's running statistics as its own forward pass does, to the unbiased variance."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean += share * (mean - norm.running_mean)
    norm.running_var += share * (variance * rows / (rows - 1) - norm.running_var)
