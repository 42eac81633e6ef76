"""One image file becomes RGB of the model's size: what a ViT sees of it, before its colours are normalised.

Shapes: H × W pixels, uint8 RGB.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from ..errors import UserError
from ..schema import Config
from .root import require_confined

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""The decoders that may run: none that calls another program, as Pillow's for EPS does."""
IMAGE_EXTENSIONS = frozenset("jpg jpeg jpe jfif mpo png webp bmp dib gif tif tiff ppm pgm pbm pnm avif jp2 j2k".split())
"""Lower-case file name endings, without the dot, that are taken for images."""
ImageAugment = Literal["none", "flip", "crop-flip"]
"""Random changes of training images; see `augment`."""
MOST_PIXELS = 80_000_000
"""Pixels of the largest image that is decoded; below the number from which Pillow itself warns."""


class ImagePreparation(Config):
    """How an image file becomes the model's input; saved with the adapter, so that prediction does the same."""

    size: int = Field(default=224, ge=8, le=1024, description="side of the square that the model sees, in pixels")
    resize: Literal["stretch", "crop"] = Field(
        default="stretch",
        description="stretch: straight to the square, as the papers on VTAB-1k do; crop: shorter side to `size`, then "
        "the middle square",
    )
    normalize: Literal["imagenet", "inception", "none"] = Field(
        default="imagenet",
        description="mean and deviation of the colours: imagenet: ImageNet's (NOAH, SSF); inception: 0.5 (weights of "
        "Google's ViT, VPT); none: from 0 to 1 as they are (PETL-ViT)",
    )


def read_image(source: Path | bytes, name: str) -> Image.Image:
    """Return a file, or a file's bytes, as an upright RGB image: its first frame, with what is transparent on white.

    Greys of 16 bits are scaled to 8. Raises UserError, naming the file and the reason, for whatever cannot be used:
    damaged or cut short, of no known format, or of more than `MOST_PIXELS`, which is known before it is decoded.
    """
    if isinstance(source, Path):
        require_confined(source, name)
    try:
        opened = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS)
        with opened as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(
                    f"{name} is too large to decode",
                    got=f"{image.width} × {image.height} pixels",
                    expected=f"at most {MOST_PIXELS:,} pixels",
                    remedy="Scale it down",
                )
            image.seek(0)
            image.load()
            return as_rgb(ImageOps.exif_transpose(image), name)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist", remedy="Check the path") from error
    except Exception as error:  # decoders of foreign files raise anything at all, warnings made errors among it
        raise UserError(f"{name} cannot be read as an image: {_reason(error)}") from error


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return an image of any mode as RGB of 8 bits, with what is transparent on white. UserError for float pixels."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image).astype(np.int64), name)).convert("RGB")
    if image.mode == "F":
        raise UserError(f"{name} has pixels that are floats, whose range no one knows", remedy="Save it with 8 bits")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    if values.min() < 0 or values.max() > 0xFFFF:
        raise UserError(f"{name} has pixels of 32 bits", got=int(values.max()), remedy="Save it with 8 or 16 bits")
    return ((values + 128) // 257).astype(np.uint8)


def image_of(array: np.ndarray, name: str) -> Image.Image:
    """Return an array (H, W), (H, W, 3) or (H, W, 4) of uint8 as an RGB image. UserError for any other."""
    array = np.asarray(array)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or array.dtype != np.uint8 or not array.size:
        raise UserError(
            f"{name} is not an image",
            got=f"{array.dtype} {tuple(array.shape)}",
            expected="an array of uint8 of shape (H, W), (H, W, 3) or (H, W, 4)",
        )
    return as_rgb(Image.fromarray(array), name)


def fit(image: Image.Image, preparation: ImagePreparation) -> np.ndarray:
    """Return the square (size, size, 3) uint8 that the model sees of an RGB image; resampling is bicubic."""
    size, box = preparation.size, None
    if preparation.resize == "crop":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def decoding_threads() -> int:
    """Return how many images to decode at once: Pillow's decoders run beside each other."""
    return min(8, os.cpu_count() or 1)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, Image.UnidentifiedImageError):
        return "its content is of no known format"
    message = (str(error).strip().splitlines() or [""])[0][:300]
    return message or type(error).__name__
