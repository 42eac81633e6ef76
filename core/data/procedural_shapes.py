"""The fifteen labelled kinds of object, each a builder with real variety; all stand upright and face +z."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .procedural_solids import Dice, Solid, curve, point, section, spin, turned

Builder = Callable[[Dice, Solid], None]


def builders() -> dict[str, Builder]:
    """Return the builder of every class, in label order."""
    return {
        "airplane": airplane,
        "bed": bed,
        "bookshelf": bookshelf,
        "bottle": bottle,
        "car": car,
        "chair": chair,
        "guitar": guitar,
        "ladder": ladder,
        "lamp": lamp,
        "monitor": monitor,
        "mug": mug,
        "plant": plant,
        "sofa": sofa,
        "stool": stool,
        "table": table,
    }


def _corners(w: float, d: float, y: float) -> np.ndarray:
    return np.array([[sx * w / 2, y, sz * d / 2] for sx in (-1, 1) for sz in (-1, 1)])


def _four_legs(dice: Dice, solid: Solid, w: float, d: float, h: float, thick: float) -> None:
    splay = dice.between(1.0, 1.25) if dice.chance(0.5) else 1.0
    tops = _corners(w, d, h)
    feet = _corners(w * splay, d * splay, 0.0)
    sides = 4 if dice.chance(0.5) else 7
    solid.rods(feet, tops, thick / 2, sides=sides, taper=dice.between(0.9, 1.6))
    if dice.chance(0.3):
        y = dice.between(0.15, 0.5)
        mid = feet + (tops - feet) * y
        solid.rods(mid[[0, 1, 0, 2]], mid[[2, 3, 1, 3]], thick * 0.35, sides=5)


def _pedestal(dice: Dice, solid: Solid, reach: float, h: float, thick: float) -> None:
    solid.revolve([[thick / 2, 0.02], [thick / 2 * dice.between(0.6, 1.2), h]], sides=8)
    if dice.chance(0.5):
        n = dice.whole(3, 5)
        around = 2 * np.pi * np.arange(n) / n + dice.between(0, 1)
        ends = np.stack([reach * np.cos(around), np.full(n, 0.02), reach * np.sin(around)], axis=-1)
        starts = np.broadcast_to([0.0, dice.between(0.05, 0.12), 0.0], (n, 3))
        solid.rods(starts, ends, thick * dice.between(0.3, 0.5), sides=5)
        if dice.chance(0.4):
            solid.ellipsoids(ends, [0.03, 0.03, 0.03], detail=4)
    else:
        solid.revolve([[reach, 0.0], [reach, 0.02], [thick / 2, dice.between(0.03, 0.08)]], sides=14)


def chair(dice: Dice, solid: Solid) -> None:
    """Legs, pedestal or sled; solid, slatted, barred or framed back; arms or none."""
    w, d, h = dice.between(0.38, 0.6), dice.between(0.38, 0.58), dice.between(0.38, 0.52)
    seat = dice.between(0.025, 0.1)
    back, lean = dice.between(0.3, 0.75), dice.between(0.0, 0.22)
    if dice.chance(0.4):
        solid.cushion((0, h, 0), (w, seat * 1.4, d), square=dice.between(0.2, 0.6))
    else:
        solid.boxes([[0, h, 0]], [[w, seat, d]])
    support = dice.pick(["legs", "legs", "legs", "pedestal", "sled"])
    thick = dice.between(0.025, 0.06)
    if support == "legs":
        _four_legs(dice, solid, w * 0.88, d * 0.88, h, thick)
    elif support == "pedestal":
        _pedestal(dice, solid, w * dice.between(0.45, 0.65), h, thick * 1.3)
    else:
        for x in (-w / 2, w / 2):
            path = [[x, h, -d / 2], [x, 0, -d / 2], [x, 0, d / 2], [x, h, d / 2]]
            solid.rods(path[:-1], path[1:], thick * 0.4)
    z0, top = -d / 2, h + back
    z1 = z0 - back * lean
    style = dice.pick(["panel", "panel", "slats", "bars", "frame", "half"])
    lower = np.array([[-w / 2, h, z0], [w / 2, h, z0]])
    upper = np.array([[-w / 2, top, z1], [w / 2, top, z1]]) * [dice.between(0.8, 1.1), 1, 1]
    if style in ("panel", "half"):
        start = 0.0 if style == "panel" else dice.between(0.35, 0.6)
        bow = dice.between(0.0, 0.1)
        x = np.linspace(-1, 1, 7)
        front = np.stack([x * w / 2, np.zeros(7), bow * x * x], axis=-1)
        shape = np.concatenate([front, front[::-1] - [0, 0, dice.between(0.02, 0.08)]])
        levels = np.linspace(start, 1, 4)[:, None, None]
        narrow = 1 - dice.between(0.0, 0.35) * np.linspace(0, 1, 4)[:, None, None] ** 3
        solid.loft(
            shape * np.concatenate([narrow, np.ones_like(narrow), np.ones_like(narrow)], axis=-1)
            + levels * np.array([0, back, z1 - z0])
            + point(0, h, z0)
        )
    if style != "panel":
        solid.rods(lower, upper, thick * 0.5)
    if style in ("slats", "frame"):
        n = dice.whole(3, 7)
        t = np.linspace(0, 1, n + 2)[1:-1, None]
        solid.rods(lower[0] + (lower[1] - lower[0]) * t, upper[0] + (upper[1] - upper[0]) * t, thick * 0.3, sides=5)
        solid.rods(upper[:1], upper[1:], thick * 0.6)
    if style == "bars":
        n = dice.whole(2, 5)
        t = np.linspace(0.3, 1, n)[:, None]
        solid.tube(
            np.stack([lower[0] + (upper[0] - lower[0]) * t, lower[1] + (upper[1] - lower[1]) * t], axis=-2),
            dice.between(0.02, 0.045),
            sides=4,
            flat=2.0 if n < 4 else 1.0,
        )
    if dice.chance(0.35):
        y = h + dice.between(0.15, 0.26)
        for x in (-w / 2, w / 2):
            solid.boxes([[x, y, 0], [x, (y + h) / 2, d * 0.42]], [[0.05, 0.035, d], [0.04, y - h, 0.04]])


def stool(dice: Dice, solid: Solid) -> None:
    """A backless seat, round, square or saddle, low or bar-high, on three or four legs or a pedestal."""
    r, h = dice.between(0.15, 0.26), dice.between(0.35, 0.85)
    seat = dice.between(0.025, 0.12)
    kind = dice.pick(["round", "round", "square", "saddle"])
    if kind == "round":
        rim = dice.between(0.75, 1.0)
        solid.revolve([[r * rim, h], [r, h + seat * 0.3], [r, h + seat * 0.8], [r * rim, h + seat]], sides=18)
    elif kind == "square":
        solid.cushion((0, h + seat / 2, 0), (2 * r, seat, 2 * r * dice.between(0.8, 1)), square=dice.between(0.15, 0.5))
    else:
        path = curve([-r * 1.2, h + 0.1, 0], [0, h - 0.06, 0], [r * 1.2, h + 0.1, 0])
        solid.tube(path, seat / 2, sides=12, square=0.4, flat=1.6 * r / seat)
    thick = dice.between(0.025, 0.055)
    if dice.chance(0.3):
        _pedestal(dice, solid, r * dice.between(0.85, 1.3), h, thick * 1.4)
        ring = dice.chance(0.4)
        inner = 0.14
    else:
        n = dice.whole(3, 4)
        around = 2 * np.pi * (np.arange(n) + 0.5) / n
        ring_at = np.stack([np.cos(around), np.zeros(n), np.sin(around)], axis=-1)
        splay = dice.between(1.0, 1.5)
        feet, tops = ring_at * r * splay, ring_at * r * 0.75 + point(0, h, 0)
        solid.rods(feet, tops, thick / 2, sides=4 if dice.chance(0.3) else 7, taper=dice.between(0.9, 1.4))
        ring = dice.chance(0.55)
        inner = r * (splay + (0.75 - splay) * 0.35)
        if ring and dice.chance(0.5):
            mid = feet + (tops - feet) * dice.between(0.2, 0.5)
            solid.rods(mid, np.roll(mid, 1, axis=0), thick * 0.35, sides=5)
            ring = False
    if ring:
        around = np.linspace(0, 2 * np.pi, 15)
        loop = np.stack([inner * np.cos(around), np.full(15, h * 0.35), inner * np.sin(around)], axis=-1)
        solid.tube(loop, 0.012, sides=5, caps=False)


def table(dice: Dice, solid: Solid) -> None:
    """Rectangular, round or oval; four legs, pedestal, trestle or desk with drawers; coffee table to dining table."""
    w = dice.between(0.7, 1.9)
    d, h = min(w, dice.between(0.55, 1.0)), dice.between(0.38, 0.8)
    top = dice.between(0.02, 0.07)
    round_top = dice.chance(0.3)
    if round_top:
        d = w * dice.between(0.7, 1.0)
        rim = section(22) * [w / 2, d / 2]
        solid.extrude(rim, h, h + top, axis=1)
    else:
        solid.boxes([[0, h + top / 2, 0]], [[w, top, d]])
    thick = dice.between(0.035, 0.1)
    base = dice.pick(
        ["legs", "legs", "pedestal"] if round_top else ["legs", "legs", "panels", "trestle", "desk", "cross"]
    )
    inset = 0.65 if round_top else dice.between(0.8, 0.96)
    if base == "legs":
        _four_legs(dice, solid, w * inset, d * inset, h, thick)
        if dice.chance(0.4):
            y, a = h - 0.06, 0.08
            solid.boxes([[0, y, d * inset / 2], [0, y, -d * inset / 2]], [[w * inset, a, 0.02]] * 2)
        if dice.chance(0.25):
            solid.boxes([[0, h * dice.between(0.2, 0.45), 0]], [[w * inset, 0.03, d * inset]])
    elif base == "pedestal":
        _pedestal(dice, solid, d * dice.between(0.25, 0.38), h, thick * 1.6)
    elif base == "panels":
        solid.boxes([[-w * 0.45, h / 2, 0], [w * 0.45, h / 2, 0]], [[thick, h, d * 0.9]] * 2)
        if dice.chance(0.5):
            solid.boxes([[0, h * 0.6, -d * 0.4]], [[w * 0.9, h * 0.6, 0.02]])
    elif base == "desk":
        wide, low = w * dice.between(0.2, 0.32), h * dice.between(0.5, 1.0)
        places = [-1.0, 1.0] if dice.chance(0.5) else [1.0]
        solid.boxes([[s * (w - wide) / 2, h - low / 2, 0] for s in places], [[wide, low, d * 0.95]] * len(places))
        solid.rods(_corners(w * 0.95, d * 0.9, 0.0), _corners(w * 0.95, d * 0.9, h), thick / 2, sides=4)
    else:
        lean = d * 0.42
        tilt = lean if base == "cross" else 0.03
        for x in (-w * 0.38, w * 0.38):
            solid.rods([[x, 0, -lean], [x, 0, lean]], [[x, h, tilt], [x, h, -tilt]], thick * 0.45, sides=4)
        solid.rods([[-w * 0.38, h * 0.4, 0]], [[w * 0.38, h * 0.4, 0]], thick * 0.35)


def bed(dice: Dice, solid: Solid) -> None:
    """Frame, mattress and pillows; headboard solid, slatted or none, footboard, posts, sometimes a second bunk."""
    w, long = dice.between(0.85, 1.9), dice.between(1.85, 2.2)
    base, mattress = dice.between(0.15, 0.4), dice.between(0.12, 0.3)
    deep = dice.between(0.08, base)
    floors = [0.0, dice.between(0.85, 1.1)] if dice.chance(0.1) else [0.0]
    for floor in floors:
        solid.boxes([[0, floor + base - deep / 2, 0]], [[w, deep, long]])
        solid.cushion((0, floor + base + mattress / 2, 0), (w * 0.97, mattress, long * 0.97), square=0.2)
        n = 1 if w < 1.2 else 2
        across = w * dice.between(0.7, 0.85) / n
        for i in range(n):
            x = (i - (n - 1) / 2) * w * 0.46
            solid.cushion(
                (x, floor + base + mattress + 0.05, -long * 0.4),
                (across, dice.between(0.1, 0.2), dice.between(0.3, 0.5)),
                square=0.6,
            )
    if dice.chance(0.4):
        cover = dice.between(0.5, 0.75)
        solid.cushion(
            (0, base + mattress * 0.7, long * (0.49 - cover / 2)), (w * 1.06, mattress * 0.9, long * cover), square=0.25
        )
    top = floors[-1] + base + mattress
    head = dice.between(0.25, 0.75) if dice.chance(0.85) else 0.0
    foot = dice.between(0.05, 0.35) if dice.chance(0.45) else 0.0
    for z, rise in ((-long / 2 - 0.03, head), (long / 2 + 0.03, foot)):
        if rise == 0:
            continue
        if dice.chance(0.65):
            solid.boxes([[0, (top + rise) / 2, z]], [[w * 1.03, top + rise, dice.between(0.03, 0.12)]])
        else:
            n = dice.whole(5, 10)
            x = np.linspace(-w / 2, w / 2, n)
            feet = np.stack([x, np.zeros(n), np.full(n, z)], axis=-1)
            solid.rods(feet + point(0, base, 0), feet + point(0, top + rise, 0), 0.018, sides=5)
            solid.boxes([[0, top + rise, z]], [[w, 0.06, 0.05]])
    if len(floors) > 1 or dice.chance(0.12):
        tall = top + 0.3 if len(floors) > 1 else dice.between(1.6, 2.0)
        solid.rods(_corners(w, long, 0.0), _corners(w, long, tall), 0.035, sides=6)
        tops = _corners(w, long, tall)
        solid.rods(tops[[0, 1, 0, 2]], tops[[2, 3, 1, 3]], 0.025, sides=5)
    else:
        solid.boxes(_corners(w * 0.92, long * 0.94, (base - deep) / 2), [0.08, max(base - deep, 0.02), 0.08])


def sofa(dice: Dice, solid: Solid) -> None:
    """Base, cushions, back and arms, boxy or rounded; one, two or three seats; sometimes with a chaise."""
    seats = dice.whole(2, 3)
    w, d = seats * dice.between(0.55, 0.75), dice.between(0.75, 1.0)
    seat, back, arm = dice.between(0.34, 0.48), dice.between(0.3, 0.55), dice.between(0.1, 0.25)
    legs, soft = dice.between(0.02, 0.14), dice.between(0.15, 0.45)
    full = w + 2 * arm
    deep = seat - legs - 0.12
    solid.boxes([[0, legs + deep / 2, 0]], [[full, deep, d]])
    thick = dice.between(0.16, 0.3)
    for i in range(seats):
        x = (i - (seats - 1) / 2) * w / seats
        solid.cushion((x, seat - 0.06, thick / 2), (w / seats * 0.98, 0.16, d - thick), square=soft)
        if dice.chance(0.6):
            solid.cushion(
                (x, seat + back / 2, -d / 2 + thick * 1.1), (w / seats * 0.95, back * 0.95, thick), square=0.5
            )
    solid.cushion((0, (legs + seat + back) / 2, -d / 2 + thick / 2), (full, seat + back - legs, thick), square=soft)
    rise = seat + back * dice.between(0.25, 0.7)
    for side in (-1, 1):
        x = side * (w + arm) / 2
        kind = dice.chance(0.1)
        if not kind:
            solid.cushion((x, (legs + rise) / 2, 0), (arm, rise - legs, d), square=soft * 0.8)
            if soft > 0.35:
                solid.rods([[x, rise, -d / 2]], [[x, rise, d / 2]], arm * 0.65, sides=10)
    if dice.chance(0.2):
        side = -1 if dice.chance(0.5) else 1
        x, out = side * (w / 2 - 0.3), dice.between(0.5, 0.8)
        solid.cushion((x, seat / 2 + legs / 2, d / 2 + out / 2), (0.7, seat - legs, out), square=soft)
    for _ in range(dice.whole(0, 2)):
        solid.ellipsoids(
            [[dice.between(-w / 2.3, w / 2.3), seat + 0.2, 0.05]],
            [[0.2, 0.2, 0.08]],
            square=0.6,
            turns=spin(dice.between(-0.5, 0.2), 0),
        )
    solid.boxes(_corners(full * 0.92, d * 0.9, legs / 2), [0.06, legs, 0.06])


def lamp(dice: Dice, solid: Solid) -> None:
    """Floor lamp, table lamp with a turned base, or a jointed desk lamp."""
    kind = dice.pick(["floor", "table", "table", "desk", "arc"])
    foot = dice.between(0.08, 0.17)
    solid.revolve([[foot, 0], [foot, dice.between(0.015, 0.04)], [0.015, dice.between(0.04, 0.07)]], sides=16)
    wide, tall = dice.between(0.12, 0.26), dice.between(0.14, 0.32)
    upper = wide * dice.between(0.35, 1.0)
    if kind in ("floor", "table"):
        h = dice.between(0.9, 1.5) if kind == "floor" else dice.between(0.25, 0.5)
        if kind == "table":
            n = 9
            radii = dice.between(0.02, 0.07) * (
                1 + dice.between(0.2, 0.9) * np.sin(np.linspace(0, dice.between(3, 11), n) + dice.between(0, 6))
            )
            solid.revolve(np.stack([radii + 0.01, np.linspace(0.03, h, n)], axis=-1), sides=12)
        elif dice.chance(0.25):
            around = 2 * np.pi * np.arange(3) / 3
            ends = np.stack([0.28 * np.cos(around), np.zeros(3), 0.28 * np.sin(around)], axis=-1)
            solid.rods(ends, np.broadcast_to([0, h * 0.95, 0], (3, 3)), 0.014)
        else:
            solid.rods([[0, 0, 0]], [[0, h, 0]], dice.between(0.01, 0.022))
        scale = dice.between(0.8, 1.1) * (1.0 if kind == "floor" else 0.9)
        if dice.chance(0.15):
            solid.ellipsoids([[0, h + wide * 0.7, 0]], [[wide * 0.8] * 3])
        else:
            solid.revolve([[wide * scale, h - 0.05], [upper * scale, h - 0.05 + tall]], caps=dice.chance(0.3), sides=20)
        return
    if kind == "arc":
        h, out = dice.between(1.1, 1.5), dice.between(0.5, 0.9)
        path = curve([0, 0, 0], [0, h * 1.3, 0], [out, h * 1.3, 0], [out, h * 0.85, 0], steps=10)
        solid.tube(path, 0.015, sides=6)
        tip, aim = path[-1], 0.0
    else:
        a, b, first, second = (
            dice.between(0.2, 0.4),
            dice.between(0.2, 0.4),
            dice.between(-0.6, 0.2),
            dice.between(0.5, 1.5),
        )
        elbow = np.array([np.sin(first) * a, np.cos(first) * a + 0.04, 0])
        tip = elbow + point(np.sin(second) * b, np.cos(second) * b, 0)
        solid.rods([[0, 0.03, 0], elbow], [elbow, tip], 0.013)
        solid.ellipsoids([elbow], [[0.022] * 3], detail=5)
        wide, upper, tall, aim = wide * 0.6, 0.03, tall * 0.6, dice.between(-0.2, 0.9)
    cone = Solid()
    cone.revolve([[wide, -tall], [min(upper, wide * 0.4), 0]], caps=False, sides=16)
    cone.revolve([[min(upper, wide * 0.4), 0], [0.01, 0.05]], sides=10)
    solid.add(turned(cone.triangles(), spin(aim, 2)) + tip)


def mug(dice: Dice, solid: Solid) -> None:
    """A cup with wall, inside and bottom: straight, tapered, barrel or flared; with a round, square or ear handle."""
    r, h = dice.between(0.03, 0.055), dice.between(0.06, 0.12)
    wall, n = dice.between(0.003, 0.007), 7
    t = np.linspace(0, 1, n)
    taper, belly = dice.between(-0.12, 0.35), dice.between(-0.12, 0.2)
    shape = r * (1 + taper * (t - 1) + belly * np.sin(np.pi * t))
    square = dice.between(0.4, 0.7) if dice.chance(0.12) else 1.0
    outer = np.stack([shape, t * h], axis=-1)
    inner = np.stack([np.maximum(shape - wall, 0.005), t * (h - wall) + wall], axis=-1)[::-1]
    inner[0, 1] = h
    solid.revolve(np.concatenate([outer, inner]), sides=22, square=square)
    if dice.chance(0.07):
        return
    low, high = dice.between(0.1, 0.3), dice.between(0.7, 0.92)
    x0, x1 = np.interp(low, t, shape), np.interp(high, t, shape)
    out = r * dice.between(0.75, 1.4)
    a, b = [x0 * 0.97, low * h, 0], [x1 * 0.97, high * h, 0]
    kind = dice.pick(["round", "round", "ear", "square"])
    if kind == "square":
        edge = max(float(x0), float(x1)) + out * 0.8
        path = np.array([a, [edge, low * h, 0], [edge, high * h, 0], b])
    else:
        drop = dice.between(-0.1, 0.25) if kind == "ear" else 0.0
        path = curve(
            a,
            [x0 + out * (0.9 if kind == "ear" else 1.3), low * h, 0],
            [x1 + out * 1.3, (high + drop) * h, 0],
            b,
            steps=9,
        )
    solid.tube(path, dice.between(0.004, 0.008), sides=8, flat=dice.between(0.8, 1.8))


def bottle(dice: Dice, solid: Solid) -> None:
    """Body, shoulder, neck and cap: wine, soda, flask, jar-like or square; sometimes a pump or a trigger."""
    r = dice.between(0.03, 0.05)
    h = r * dice.between(4.2, 8.0)
    neck, start = r * dice.between(0.25, 0.55), dice.between(0.5, 0.78)
    end = start + dice.between(0.06, 0.25)
    waist = 1 - (dice.between(0.05, 0.25) if dice.chance(0.35) else 0.0)
    square = dice.between(0.3, 0.6) if dice.chance(0.25) else 1.0
    flat = dice.between(0.45, 0.85) if dice.chance(0.3) else 1.0
    t = np.linspace(0, 1, 5)
    shoulder = neck + (r - neck) * (1 + np.cos(np.pi * t)) / 2
    body = [
        [r * 0.9, 0],
        [r, 0.015],
        [r * (1 + waist) / 2, h * start * 0.3],
        [r * waist, h * start * 0.5],
        [r * (1 + waist) / 2, h * start * 0.75],
    ]
    upper = np.stack([shoulder, h * (start + (end - start) * t)], axis=-1)
    solid.revolve(np.concatenate([body, upper]), sides=20, square=square, flat=flat)
    tip = h * max(end + 0.05, min(1.0, end + dice.between(0.03, 0.25)))
    solid.revolve([[neck, h * end], [neck * dice.between(0.8, 1.0), tip]], sides=12)
    cap = neck * dice.between(1.05, 1.4)
    solid.revolve([[cap, tip - 0.012], [cap, tip + dice.between(0.0, 0.012)]], sides=12)
    if dice.chance(0.15):
        solid.rods([[0, tip, 0]], [[0, tip + 0.03, 0]], 0.006)
        solid.boxes([[0.012, tip + 0.035, 0]], [[0.05, 0.012, 0.018]])
        if dice.chance(0.5):
            solid.rods([[0.025, tip + 0.03, 0]], [[0.04, tip - 0.01, 0]], 0.004)


def airplane(dice: Dice, solid: Solid) -> None:
    """Airliner, propeller plane, jet or biplane: fuselage, wings, tail and engines; the nose points to +z."""
    long, r = dice.between(1.6, 2.2), dice.between(0.08, 0.16)
    z = np.array([1.0, 0.96, 0.86, 0.7, 0.2, -0.3, -0.7, -1.0]) * long / 2
    radii = r * np.array([0.05, 0.4, 0.75, 1.0, 1.0, 0.95, 0.6, dice.between(0.1, 0.3)])
    rise = np.array([0, 0, 0, 0, 0, 0, 0.3, 0.6]) * r
    solid.tube(np.stack([np.zeros(8), rise, z], axis=-1), radii, sides=12, flat=dice.between(0.85, 1.2))
    span, chord = dice.between(0.7, 1.25), dice.between(0.22, 0.5)
    sweep = dice.between(-0.05, 0.6)
    tip = chord * dice.between(0.25, 1.0)
    high, dihedral = dice.pick(["low", "mid", "high"]), dice.between(-0.03, 0.14)
    y = {"low": -0.6 * r, "mid": 0.0, "high": 0.85 * r}[high]
    at = dice.between(0.0, 0.35)
    levels = [y, y + dice.between(0.25, 0.35)] if dice.chance(0.12) else [y]
    for level in levels:
        _wings(solid, (level, at), (span, chord, tip), (sweep, dihedral * span))
        if len(levels) > 1:
            x = span * 0.6
            solid.rods([[-x, y, at], [x, y, at]], [[-x, levels[1], at], [x, levels[1], at]], 0.012)
    tail = dice.between(0.25, 0.45)
    top = dice.between(0.22, 0.42)
    _wings(solid, (top if dice.chance(0.25) else rise[-1], -long / 2 + 0.12), (tail, 0.2, 0.12), (sweep * 0.4, 0.0))
    base = np.array([[0.5, 0, 0], [0, 0, 1], [-0.5, 0, 0], [0, 0, -1]]) * [0.02, 1, 0.12]
    fin = np.stack(
        [base + point(0, rise[-1], -long / 2 + 0.14), base * [0.6, 1, 0.6] + point(0, top, -long / 2 + 0.02)]
    )
    solid.loft(fin)
    engines = dice.pick(["wing", "wing4", "nose", "none", "tail"])
    if engines == "nose":
        solid.boxes([[0, 0, long / 2]] * 2, [[0.45, 0.03, 0.012], [0.03, 0.45, 0.012]], spin(dice.between(0, 1.5), 2))
    elif engines != "none":
        places = {"wing": [0.35], "wing4": [0.3, 0.6], "tail": [0.0]}[engines]
        for share in places:
            x = span * share if share else r + 0.07
            pod = 0.05 if share else 0.055
            depth = y - 0.06 if share else 0.05
            front = at - sweep * share * 0.6 + 0.12 if share else -long * 0.28
            ends = np.array([[s * x, depth, front] for s in (-1, 1)])
            solid.rods(ends, ends - [0, 0, 0.26], pod, sides=9, taper=0.7)


def _wings(
    solid: Solid, place: tuple[float, float], size: tuple[float, float, float], lean: tuple[float, float]
) -> None:
    (y, z), (span, chord, tip), (sweep, rise) = place, size, lean
    foil = np.array([[0, 0.5], [0.06, 0.2], [0.03, -0.3], [0, -0.5], [-0.03, -0.3], [-0.04, 0.2]])
    for side in (-1.0, 1.0):
        rings = np.zeros((2, 6, 3))
        rings[:, :, 1:] = foil * np.array([[[0.8 * chord, chord]], [[0.8 * tip, tip]]])
        rings[0] += [0, y, z]
        rings[1] += [side * span, y + rise, z - sweep]
        solid.loft(rings)


def car(dice: Dice, solid: Solid) -> None:
    """Saloon, hatchback, estate, van, pick-up, sports car or bus on four wheels; the nose points to +z."""
    kind = dice.pick(["saloon", "hatch", "estate", "van", "pickup", "sports", "saloon"])
    long, w = dice.between(3.6, 4.9), dice.between(1.6, 1.95)
    wheel, clear = dice.between(0.28, 0.4), dice.between(0.15, 0.3)
    waist = clear + dice.between(0.5, 0.7)
    roof = waist + {"van": 0.95, "sports": 0.35}.get(kind, 0.52) * dice.between(0.9, 1.15)
    nose = waist - dice.between(0.05, 0.25)
    z = np.array([-1, -0.97, -0.6, 0.0, 0.5, 0.9, 1.0]) * long / 2
    top = np.array([waist - 0.15, waist, waist, waist, waist, nose, nose - 0.2])
    wide = np.array([0.88, 0.96, 1, 1, 1, 0.93, 0.8]) * w / 2
    _body(solid, z, np.full(7, clear), top, wide)
    rear, front = {
        "saloon": (-0.55, 0.35),
        "hatch": (-0.9, 0.4),
        "estate": (-0.97, 0.38),
        "van": (-0.98, 0.75),
        "pickup": (-0.05, 0.4),
        "sports": (-0.5, 0.2),
    }[kind]
    slope_back = {"saloon": 0.28, "sports": 0.4, "hatch": 0.2}.get(kind, 0.05) * dice.between(0.7, 1.2)
    slope_front = (0.15 if kind == "van" else 0.3) * dice.between(0.8, 1.2)
    z = np.array([rear, rear + slope_back, front - slope_front, front]) * long / 2
    tops = np.array([waist + 0.02, roof, roof, waist + 0.02])
    _body(solid, z, np.full(4, waist - 0.03), tops, np.array([0.9, 0.8, 0.8, 0.9]) * w / 2)
    if kind == "pickup":
        solid.boxes(
            [
                [-w * 0.46, waist + 0.1, -long * 0.26],
                [w * 0.46, waist + 0.1, -long * 0.26],
                [0, waist + 0.1, -long * 0.48],
            ],
            [[0.08, 0.25, long * 0.45]] * 2 + [[w * 0.9, 0.25, 0.08]],
        )
    axle = dice.between(0.28, 0.33) * long
    hubs = np.array([[s * w * 0.44, wheel, f * axle] for s in (-1, 1) for f in (-1, 1)])
    half = np.array([0.12, 0, 0])
    solid.rods(hubs - half, hubs + half, wheel, sides=14)
    if dice.chance(0.6):
        solid.boxes([[s * (w / 2 + 0.08), waist + 0.06, long * 0.14] for s in (-1, 1)], [0.16, 0.12, 0.08])
    if kind == "sports" and dice.chance(0.6):
        solid.boxes([[0, waist + 0.2, -long * 0.47]], [[w * 0.85, 0.04, 0.3]])


def _body(solid: Solid, z: np.ndarray, low: np.ndarray, high: np.ndarray, wide: np.ndarray) -> None:
    shape = section(14, 0.5)
    rings = np.empty((len(z), 14, 3))
    rings[..., 0] = shape[:, 0] * wide[:, None]
    rings[..., 1] = (low + high)[:, None] / 2 + shape[:, 1] * ((high - low) / 2)[:, None]
    rings[..., 2] = z[:, None]
    solid.loft(rings)


def guitar(dice: Dice, solid: Solid) -> None:
    """Acoustic, electric with horns, or ukulele: waisted body, neck, head, pegs, bridge; upright, facing +z."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    long, w, thick = dice.between(0.4, 0.55), dice.between(0.3, 0.42), dice.between(0.05, 0.12)
    upper, waist = dice.between(0.65, 0.85), dice.between(0.55, 0.72)
    y = -np.cos(angle)
    width = np.interp(y, [-1, -0.9, -0.45, 0.15, 0.6, 0.93, 1], [0, 0.55, 1.0, waist, upper, 0.4, 0])
    x = np.sign(np.sin(angle)) * width * w / 2
    electric = dice.chance(0.4)
    if electric:
        thick *= 0.5
        horn = dice.between(0.1, 0.3)
        bump = np.exp(-((y - 0.75) ** 2) / 0.02)
        x = x * (1 + horn * bump * np.where(x > 0, 1, dice.between(0.3, 1)))
        y = y + horn * 1.2 * bump * (np.abs(x) > w * 0.15)
    outline = np.stack([x, y * long / 2], axis=-1)
    solid.extrude(outline, -thick / 2, thick / 2, inset=0.12 if electric else 0.03)
    neck, reach = dice.between(0.045, 0.065), dice.between(0.3, 0.52)
    top = long / 2 + reach
    solid.boxes([[0, (long * 0.2 + top) / 2, thick / 2]], [[neck, top - long * 0.2, 0.03]])
    head = dice.between(0.12, 0.2)
    lean = spin(-dice.between(0.0, 0.3), 0)
    solid.boxes([[0, top + head / 2, thick / 2 - 0.01]], [[neck * dice.between(1.2, 1.8), head, 0.02]], lean)
    pegs = np.array([[s * neck * 0.95, top + head * f, thick / 2 - 0.01] for s in (-1, 1) for f in (0.25, 0.5, 0.75)])
    solid.boxes(pegs, [0.035, 0.015, 0.012])
    solid.boxes([[0, -long * dice.between(0.2, 0.3), thick / 2 + 0.008]], [[w * 0.45, 0.03, 0.02]])
    if not electric:
        loop = curve([0, 0, 0], [0, 0, 0], steps=13)
        around = np.linspace(0, 2 * np.pi, 13)
        loop[:, 0], loop[:, 1], loop[:, 2] = 0.05 * np.cos(around), 0.05 * np.sin(around) + 0.04, thick / 2
        solid.tube(loop, 0.008, sides=5, caps=False)
    if dice.chance(0.2):
        solid.rods(
            [[-0.1, -long * 0.55, 0.1], [0.1, -long * 0.55, 0.1], [0, -long * 0.55, -0.2]],
            [[0, 0, -thick / 2]] * 3,
            0.01,
            sides=5,
        )


def ladder(dice: Dice, solid: Solid) -> None:
    """Straight and leaning, tapering, or a step ladder of two halves; rungs or treads."""
    h, w = dice.between(1.3, 3.0), dice.between(0.32, 0.6)
    n, thick = dice.whole(4, 9), dice.between(0.03, 0.07)
    taper = dice.between(0.6, 1.0)
    step = dice.chance(0.45)
    if step:
        h *= 0.7
    lean = dice.between(0.15, 0.35) if step else dice.between(0.0, 0.35)
    feet = np.array([[-w / 2, 0, h * lean], [w / 2, 0, h * lean]])
    tops = np.array([[-w / 2 * taper, h, 0], [w / 2 * taper, h, 0]])
    solid.tube(np.stack([feet, tops], axis=-2), thick * 0.6, sides=4)
    t = np.linspace(0.08, 0.93, n)[:, None]
    left, right = feet[0] + (tops[0] - feet[0]) * t, feet[1] + (tops[1] - feet[1]) * t
    if step or dice.chance(0.3):
        sizes = np.stack([right[:, 0] - left[:, 0], np.full(n, 0.025), np.full(n, dice.between(0.06, 0.14))], axis=-1)
        solid.boxes((left + right) / 2, sizes)
    else:
        solid.rods(left, right, thick * dice.between(0.25, 0.45))
    if step:
        back = feet * [1, 1, -1]
        solid.tube(np.stack([back, tops], axis=-2), thick * 0.5, sides=4)
        m = dice.whole(1, n)
        t = np.linspace(0.1, 0.8, m)[:, None]
        solid.rods(back[0] + (tops[0] - back[0]) * t, back[1] + (tops[1] - back[1]) * t, thick * 0.3, sides=5)
        solid.boxes([[0, h, 0]], [[w * taper + thick, 0.03, dice.between(0.12, 0.25)]])


def bookshelf(dice: Dice, solid: Solid) -> None:
    """Boards, with or without a back, dividers, doors and books."""
    w, h, d = dice.between(0.5, 1.6), dice.between(0.9, 2.1), dice.between(0.22, 0.4)
    n, thick = dice.whole(2, 6), dice.between(0.018, 0.04)
    y = np.linspace(thick / 2 + dice.between(0, 0.08), h - thick / 2, n + 1)
    solid.boxes(np.stack([np.zeros(n + 1), y, np.zeros(n + 1)], axis=-1), [w, thick, d])
    cells = dice.whole(2, 4) if dice.chance(0.3) else 1
    x = np.linspace(-w / 2, w / 2, cells + 1)
    if cells == 1 and dice.chance(0.2):
        solid.rods(_corners(w, d, 0), _corners(w, d, h), thick, sides=4)
    else:
        solid.boxes(np.stack([x, np.full(cells + 1, h / 2), np.zeros(cells + 1)], axis=-1), [thick, h, d])
    if dice.chance(0.6):
        solid.boxes([[0, h / 2, -d / 2]], [[w, h, 0.01]])
    gap = y[1] - y[0]
    if dice.chance(0.2):
        solid.boxes([[0, y[0] + gap / 2, d / 2]], [[w, gap, 0.02]])
    fill = dice.between(0.0, 0.9)
    per = dice.whole(6, 14)
    rows, cols = np.meshgrid(np.arange(n), np.arange(per), indexing="ij")
    present = dice.many(0, 1, n, per) < fill * dice.many(0, 1.6, n, 1)
    rows, cols = rows[present], cols[present]
    if len(rows):
        pitch = w * 0.94 / per
        tall = gap * dice.many(0.45, 0.85, len(rows))
        deep = d * dice.many(0.5, 0.85, len(rows))
        place = np.stack([(cols + 0.5) * pitch - w * 0.47, y[rows] + tall / 2, -d / 2 + deep / 2], axis=-1)
        solid.boxes(place, np.stack([pitch * dice.many(0.5, 0.98, len(rows)), tall, deep], axis=-1))


def plant(dice: Dice, solid: Solid) -> None:
    """A pot with blades, a leafy bush, a little tree, or a cactus."""
    r, h = dice.between(0.09, 0.17), dice.between(0.1, 0.3)
    base = r * dice.between(0.6, 1.0)
    solid.revolve(
        [[base, 0], [r, h], [r * 1.08, h], [r * 1.08, h * 1.1], [r * 0.9, h]],
        sides=16,
        square=0.35 if dice.chance(0.2) else 1.0,
    )
    kind = dice.pick(["blades", "blades", "leaves", "leaves", "tree", "cactus"])
    if kind == "cactus":
        tall, fat = dice.between(0.25, 0.7), dice.between(0.05, 0.1)
        column = np.stack([np.zeros(6), h * 0.9 + tall * np.linspace(0, 1, 6), np.zeros(6)], axis=-1)
        solid.tube(column, fat * np.array([0.9, 1, 1, 1, 0.8, 0.2]), sides=10)
        for _ in range(dice.whole(0, 3)):
            turn = spin(dice.between(0, 2 * np.pi))
            start = h + tall * dice.between(0.2, 0.5)
            arm = turned(curve([0, 0, 0], [fat * 3.5, 0, 0], [fat * 3, tall * 0.5, 0]), turn) + point(0, start, 0)
            solid.tube(arm, fat * np.array([0.6, 0.6, 0.6, 0.6, 0.6, 0.5, 0.2]), sides=8)
        return
    n = dice.whole(7, 22)
    around = dice.many(0, 2 * np.pi, n)
    out, up = np.stack([np.cos(around), np.zeros(n), np.sin(around)], axis=-1), np.array([0.0, 1.0, 0.0])
    if kind == "blades":
        tall, spread, droop = dice.between(0.3, 0.75), dice.between(0.1, 0.45), dice.between(0.0, 0.5)
        size = dice.many(0.6, 1.0, n, 1)
        root = up * h + out * r * 0.25
        knee = root + (out * spread * 0.4 + up * tall) * size
        tip = root + (out * spread * 1.2 + up * tall * (1 - droop)) * size
        _leaves(solid, curve(root, knee, tip), out, dice.between(0.015, 0.05))
        return
    if kind == "tree":
        tall, crown = dice.between(0.3, 0.8), dice.between(0.15, 0.32)
        solid.rods([[0, h * 0.8, 0]], [[dice.between(-0.04, 0.04), h + tall, 0]], 0.018, taper=0.6)
        lumps = dice.whole(1, 7)
        place = dice.many(-0.5, 0.5, lumps, 3) * crown * (1.2 if lumps > 1 else 0) + point(0, h + tall + crown * 0.4, 0)
        solid.ellipsoids(place, crown * dice.many(0.55, 0.9, lumps, 3) * (1.3 if lumps == 1 else 1.0), detail=6)
        return
    tall, long = dice.between(0.25, 0.7), dice.between(0.12, 0.28)
    start = up * (h + tall * dice.many(0.15, 1.0, n, 1)) + out * 0.03
    tip = start + (out + up * dice.many(-0.3, 0.9, n, 1)) * long * dice.many(0.7, 1.1, n, 1)
    stems = dice.whole(1, 3)
    ends = np.stack([dice.many(-0.06, 0.06, stems), np.full(stems, h + tall), dice.many(-0.06, 0.06, stems)], axis=-1)
    solid.rods(ends * [0.3, 0, 0.3] + point(0, h * 0.9, 0), ends, 0.01, sides=5)
    _leaves(solid, curve(start, (start + tip) / 2 + up * long * 0.25, tip, steps=6), out, dice.between(0.04, 0.1))


def _leaves(solid: Solid, spines: np.ndarray, out: np.ndarray, width: float) -> None:
    across = np.stack([-out[:, 2], np.zeros(len(out)), out[:, 0]], axis=-1)[:, None, :]
    steps = spines.shape[1]
    swell = np.sin(np.pi * np.linspace(0.12, 1.0, steps))[:, None] * width
    sheet = np.stack([spines - across * swell, spines + across * swell], axis=-2)
    solid.loft(sheet, closed=False)


def monitor(dice: Dice, solid: Solid) -> None:
    """A screen, flat, curved or deep, on a stand: plate, disc, two feet or a V."""
    w = dice.between(0.4, 0.95)
    h = w / dice.between(1.25, 2.2)
    if dice.chance(0.06):
        w, h = h, w
    thick, lift = dice.between(0.012, 0.05), dice.between(0.05, 0.2)
    bow = dice.between(0.03, 0.1) if dice.chance(0.25) else 0.0
    x = np.linspace(-1, 1, 9)
    front = np.stack([x * w / 2, np.zeros(9), bow * x * x], axis=-1)
    shape = np.concatenate([front, front[::-1] - [0, 0, thick]])
    screen = np.stack([shape + point(0, -h / 2, 0), shape + point(0, h / 2, 0)])
    screen = turned(screen, spin(dice.between(-0.25, 0.05), 0))
    solid.loft(screen + point(0, lift + h / 2, 0))
    if dice.chance(0.2):
        deep = dice.between(0.1, 0.35)
        size = np.array([[0.95, 0.95], [0.5, 0.5]])
        rings = np.zeros((2, 4, 3))
        rings[..., :2] = section(4) * (size * [w / 2, h / 2] * 1.41)[:, None]
        rings[..., 2] = np.array([[-thick], [-thick - deep]])
        solid.loft(rings + point(0, lift + h / 2, 0))
    z = -thick - 0.02
    column = dice.between(0.02, 0.05)
    solid.boxes([[0, (lift + h * 0.4) / 2, z]], [[column * dice.between(1, 3), lift + h * 0.4, column * 0.7]])
    base = dice.pick(["plate", "disc", "feet", "vee"])
    reach = dice.between(0.09, 0.15)
    if base == "plate":
        solid.boxes([[0, 0.007, z + 0.02]], [[w * dice.between(0.3, 0.55), 0.014, reach * 2]])
    elif base == "disc":
        solid.extrude(section(18) * [w * dice.between(0.16, 0.26), reach] + point(0, z + 0.02), 0.0, 0.014, axis=1)
    elif base == "feet":
        solid.boxes([[s * w * 0.35, 0.01, z] for s in (-1, 1)], [0.025, 0.02, reach * 2])
        solid.boxes([[s * w * 0.35, lift / 2, z] for s in (-1, 1)], [0.025, lift * 1.4, 0.02])
    else:
        solid.rods([[0, 0.015, z]] * 2, [[s * w * 0.25, 0.012, z + reach * 1.8] for s in (-1, 1)], 0.012, sides=5)
