"""Class names of the public benchmarks, in the order of their labels."""

from __future__ import annotations

from collections.abc import Iterable

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

SHAPENETPART: dict[str, int] = {
    "airplane": 4,
    "bag": 2,
    "cap": 2,
    "car": 4,
    "chair": 4,
    "earphone": 3,
    "guitar": 3,
    "knife": 2,
    "lamp": 4,
    "laptop": 2,
    "motorbike": 6,
    "mug": 2,
    "pistol": 3,
    "rocket": 3,
    "skateboard": 3,
    "table": 3,
}
"""ShapeNetPart (SIGGRAPH Asia 2016): its categories in the order of their labels, with how many parts each has.

The 50 parts are numbered through all categories; the official files give them no names.
"""


def numbered_parts(counts: Iterable[int]) -> tuple[tuple[str, ...], ...]:
    """Return names for parts that have none: part 1, part 2 … of each category."""
    return tuple(tuple(f"part {number}" for number in range(1, count + 1)) for count in counts)
