"""How a split reaches a model: batches on its device, made ready while the one before is used.

Shapes: B in a batch; clouds are (B, N, 3), images (B, 3, H, W), float32; labels int64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from ..models.grouping import require_finite
from .picture import ImagePreparation, decoding_threads

if TYPE_CHECKING:
    from .clouds import Clouds
    from .images import Images

_MEAN_AND_STD = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


class Feed(Protocol):
    """One split on a device, batch by batch."""

    @property
    def labels(self) -> Tensor:
        """(S,) int64, on the device."""
        ...

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """Yield the inputs, ready for the model, at each of `indices` (B,), in their order.

        While one batch is used the next may be made ready. UserError when a file can no longer be read.
        """
        ...


class CloudFeed:
    """Clouds that lie on the device as long as this lives: batches are picked from there.

    UserError where a coordinate is not finite: it is looked for here, once, and not in every step.
    """

    def __init__(self, clouds: Clouds, device: torch.device) -> None:
        self.labels = torch.from_numpy(clouds.labels).long().to(device)
        self._points = torch.from_numpy(clouds.points).to(device)
        require_finite(self._points)

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        if not indices:
            return
        # The order goes to the device as one piece: each transfer of its own would make the host wait.
        order = torch.from_numpy(np.concatenate(indices)).to(self._points.device)
        start = 0
        for index in indices:
            yield self._points.index_select(0, order[start : start + len(index)])
            start += len(index)


class ImageFeed:
    """Squares that lie on the device, or are decoded by threads while the model is busy with the batch before."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.labels = torch.from_numpy(images.labels).long().to(device)
        self._images, self._device = images, device
        self._pixels = None if images.pixels is None else torch.from_numpy(images.pixels).to(device)

    def batches(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        if self._pixels is None:
            yield from self._decoded(indices)
            return
        for index in indices:
            chosen = self._pixels[torch.from_numpy(index).to(self._device)]
            yield to_input(chosen, self._images.preparation)

    def _decoded(self, indices: Sequence[np.ndarray]) -> Iterator[Tensor]:
        pool = ThreadPoolExecutor(decoding_threads(), thread_name_prefix="decode")

        def begin(index: np.ndarray) -> list[Future[np.ndarray]]:
            chosen: list[int] = index.tolist()
            return [pool.submit(self._images.square, i) for i in chosen]

        try:
            coming = begin(indices[0]) if len(indices) else []
            for after in (*indices[1:], None)[: len(indices)]:
                ready, coming = coming, [] if after is None else begin(after)
                batch = torch.from_numpy(np.stack([one.result() for one in ready]))
                yield to_input(batch.to(self._device), self._images.preparation)
        finally:
            pool.shutdown(cancel_futures=True)


def to_input(pixels: Tensor, preparation: ImagePreparation) -> Tensor:
    """Return the model's input (B, 3, H, W) float32 of squares (B, H, W, 3) uint8, on their device."""
    mean, std = (
        torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in _MEAN_AND_STD[preparation.normalize]
    )
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
