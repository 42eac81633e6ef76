"""Class names of the public benchmarks, in the order of their labels."""

from __future__ import annotations

SCANOBJECTNN: tuple[str, ...] = tuple(
    "bag bin box cabinet chair desk display door shelf table bed pillow sink sofa toilet".split()
)
"""ScanObjectNN (ICCV 2019), all three variants."""

MODELNET40: tuple[str, ...] = tuple(
    "airplane bathtub bed bench bookshelf bottle bowl car chair cone cup curtain desk door dresser flower_pot "
    "glass_box guitar keyboard lamp laptop mantel monitor night_stand person piano plant radio range_hood sink sofa "
    "stairs stool table tent toilet tv_stand vase wardrobe xbox".split()
)
"""ModelNet40 (CVPR 2015), alphabetical."""

MODELNET10: tuple[str, ...] = tuple("bathtub bed chair desk dresser monitor night_stand sofa table toilet".split())
"""The ten classes of ModelNet40 that make up ModelNet10, alphabetical."""
