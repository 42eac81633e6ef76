"""Random compositions without a name: families of solids, wide enough that features learnt on them are general."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .procedural_solids import Dice, Solid, any_turn, curve, point, section, spin, turned, unit

Family = Callable[[Dice, Solid], None]


def families() -> tuple[Family, ...]:
    """Return all families; each adds one random composition to a solid."""
    return (union, vessel, creature, figure, branching, fingers, winged, slab, frame, knot, vehicle, sheets, tool)


def deform(points: np.ndarray, dice: Dice) -> np.ndarray:
    """Return points (..., 3) of about radius one, bent, tapered, twisted, sheared and stretched at random."""
    out = np.multiply(points, np.exp(dice.many(-0.3, 0.3, 3)), dtype=np.float64)
    axis = dice.whole(0, 2)
    along = np.array(out[..., axis], dtype=np.float64)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    if dice.chance(0.3):
        scale = 1 + dice.between(-0.5, 0.5) * along
        out[..., a], out[..., b] = out[..., a] * scale, out[..., b] * scale
    if dice.chance(0.25):
        angle = dice.between(-1.2, 1.2) * along
        c, s = np.cos(angle), np.sin(angle)
        out[..., a], out[..., b] = out[..., a] * c - out[..., b] * s, out[..., a] * s + out[..., b] * c
    if dice.chance(0.3):
        out[..., a] = out[..., a] + dice.between(-0.6, 0.6) * along * along
    if dice.chance(0.2):
        out[..., a] = out[..., a] + dice.between(-0.4, 0.4) * along
    return out


def union(dice: Dice, solid: Solid) -> None:
    """Two to nine primitives grown one on another, some in mirrored pairs."""
    spots = [np.zeros(3)]
    sizes = [dice.many(0.15, 0.6, 3)]
    tilted = dice.chance(0.4)
    for i in range(dice.whole(2, 9)):
        parent = int(dice.between(0, len(spots)))
        size = sizes[parent] * dice.many(0.25, 1.1, 3) if i else sizes[0]
        towards = unit(dice.rng.standard_normal(3))
        if dice.chance(0.6):
            towards = np.eye(3)[dice.whole(0, 2)] * (1 if dice.chance(0.5) else -1)
        spot = spots[parent] + towards * (sizes[parent] + size * dice.between(0.2, 0.9)) if i else spots[0]
        spots.append(spot)
        sizes.append(size)
        _primitive(dice, solid, spot, size, any_turn(dice.rng) if tilted and i else None)
        if i and dice.chance(0.4) and abs(spot[0]) > 0.1:
            _primitive(dice, solid, spot * [-1, 1, 1], size, None)


def _primitive(dice: Dice, solid: Solid, spot: np.ndarray, size: np.ndarray, turn: np.ndarray | None) -> None:
    kind = dice.pick(["box", "ball", "quadric", "cylinder", "cone", "ring"])
    if kind == "box":
        solid.boxes([spot], [size * 2], turn)
    elif kind in ("ball", "quadric"):
        square = 1.0 if kind == "ball" else dice.between(0.15, 2.0)
        solid.ellipsoids([spot], [size], square=square, turns=turn, detail=9)
    else:
        part = Solid()
        if kind == "ring":
            around = np.linspace(0, 2 * np.pi, 17)
            path = np.stack([np.cos(around), np.zeros(17), np.sin(around)], axis=-1)
            part.tube(path, dice.between(0.1, 0.35), sides=8, caps=False)
        else:
            upper = 1.0 if kind == "cylinder" else dice.between(0.0, 0.6)
            part.revolve([[1, -1], [upper, 1]], sides=dice.whole(3, 16), caps=dice.chance(0.8))
        shape = part.triangles() * size
        solid.add((turned(shape, turn) if turn is not None else shape) + spot)


def vessel(dice: Dice, solid: Solid) -> None:
    """A turned body with a random profile: vase, bowl, goblet, jar, pawn; perhaps handles, spout, lid or ribs."""
    n, h = 14, dice.between(0.5, 2.4)
    t = np.linspace(0, 1, n)
    radius = np.interp(t, np.linspace(0, 1, 5), dice.many(0.12, 0.6, 5))
    radius = np.convolve(np.pad(radius, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    radius += 0.06 * dice.between(-1, 1) * np.sin(dice.between(4, 25) * t)
    radius = np.maximum(radius, 0.03)
    profile = np.stack([radius, h * t], axis=-1)
    is_open = dice.chance(0.6)
    if is_open:
        inner = np.stack([np.maximum(radius - dice.between(0.02, 0.08), 0.01), h * t * 0.97 + 0.03], axis=-1)[::-1]
        profile = np.concatenate([profile, inner[: dice.whole(3, n)]])
    sides = dice.pick(["round", "round", "round", "few", "square"])
    solid.revolve(
        profile,
        sides=dice.whole(3, 8) if sides == "few" else 20,
        caps=not is_open or dice.chance(0.5),
        square=dice.between(0.3, 0.7) if sides == "square" else 1.0,
        flat=dice.between(0.6, 1.0),
    )
    for side in (1.0, -1.0)[: dice.whole(0, 2)]:
        low, high = np.sort(dice.many(0.05, 0.95, 2))
        x = np.interp([low, high], t, radius) * side
        out = dice.between(0.2, 0.6) * side
        path = curve([x[0], low * h, 0], [x[0] + out, low * h, 0], [x[1] + out, high * h, 0], [x[1], high * h, 0])
        solid.tube(path, dice.between(0.02, 0.06), sides=7)
    if dice.chance(0.15):
        path = curve(
            [radius[4], h * 0.3, 0], [radius[4] + 0.4, h * 0.3, 0], [radius[4] + 0.5, h * dice.between(0.5, 1), 0]
        )
        solid.tube(path, np.linspace(0.1, 0.04, 7), sides=8, caps=False)
    if dice.chance(0.2):
        solid.ellipsoids([[0, h, 0]], [[radius[-1], dice.between(0.05, 0.3), radius[-1]]])


def creature(dice: Dice, solid: Solid) -> None:
    """A body along z with jointed legs in pairs, neck and head, and perhaps tail, ears, horns, shell or fins."""
    long, fat = dice.between(0.7, 1.6), dice.between(0.12, 0.4)
    arch = dice.between(-0.2, 0.25)
    spine = curve([0, 0, -long / 2], [0, arch, 0], [0, dice.between(-0.1, 0.3), long / 2], steps=8)
    radii = fat * np.interp(np.linspace(0, 1, 8), [0, 0.2, 0.5, 0.8, 1], [0.3, *dice.many(0.7, 1.1, 3), 0.4])
    solid.tube(spine, radii, sides=12, flat=dice.between(0.7, 1.3))
    pairs = dice.whole(0, 4) if dice.chance(0.4) else 2
    legs, thick = dice.between(0.25, 1.1), fat * dice.between(0.15, 0.4)
    for share in np.linspace(0.15, 0.85, pairs) if pairs > 1 else [0.5] * pairs:
        root = spine[int(share * 7)]
        wide, swing = dice.between(0.0, 0.6), dice.between(-0.4, 0.4)
        for side in (-1.0, 1.0):
            step = dice.between(-0.25, 0.25)
            hip = root + point(side * fat * 0.7, -fat * 0.3, 0)
            knee = hip + point(side * wide * legs, -legs * dice.between(0.3, 0.5), swing * legs + step)
            foot = np.array([knee[0] + side * wide * legs * 0.3, root[1] - legs - fat * 0.5, hip[2] + step])
            solid.tube([hip, knee, foot], thick * np.array([1.4, 1.0, 0.7]), sides=7)
            if dice.chance(0.5):
                solid.ellipsoids([foot + point(0, 0, thick)], [[thick, thick * 0.6, thick * 1.8]], detail=5)
    neck = spine[-1] + point(0, dice.between(-0.1, 0.9) * fat * 3, dice.between(0.1, 0.9) * fat * 2)
    solid.tube(
        curve(spine[-2], spine[-1], neck, steps=5), np.linspace(fat * 0.6, fat * dice.between(0.25, 0.5), 5), sides=8
    )
    head = fat * dice.between(0.35, 0.8)
    solid.ellipsoids([neck + point(0, 0, head * 0.4)], [head * dice.many(0.6, 1.2, 3) * [1, 1, 1.5]])
    if dice.chance(0.6):
        ear = neck + point(0, head * 0.5, 0)
        tips = np.array([[s * head * dice.between(0.3, 1.5), head * dice.between(0.5, 3), 0] for s in (-1, 1)])
        solid.rods([ear, ear], ear + tips, head * dice.between(0.1, 0.4), taper=0.2)
    if dice.chance(0.7):
        end = spine[0] + point(dice.between(-0.3, 0.3), dice.between(-0.5, 0.7), -dice.between(0.1, 1.1))
        solid.tube(
            curve(spine[0], spine[0] + point(0, 0.1, -0.3), end), np.linspace(fat * 0.35, fat * 0.08, 7), sides=6
        )
    if dice.chance(0.15):
        fin = np.array([[0, 0, -0.3], [0, 0, 0.3], [0, dice.between(0.2, 0.6), dice.between(-0.4, 0.1)]])
        solid.add((fin + spine[4] + point(0, fat * 0.7, 0))[None])


def figure(dice: Dice, solid: Solid) -> None:
    """A standing, sitting or moving figure: trunk, head, two arms and two legs with joints, perhaps skirt or hat."""
    tall, wide = dice.between(0.5, 0.7), dice.between(0.2, 0.32)
    hip, neck = np.zeros(3), np.array([0.0, tall, dice.between(-0.15, 0.25)])
    trunk = np.array([dice.between(0.6, 1), dice.between(0.6, 1), 1.0, 0.4]) * wide
    solid.tube(curve(hip - [0, 0.05, 0], (hip + neck) / 2, neck, steps=4), trunk, sides=10, flat=dice.between(0.5, 0.9))
    head = dice.between(0.11, 0.2)
    solid.rods([neck], [neck + point(0, head, 0)], head * 0.45)
    solid.ellipsoids([neck + point(0, head * 1.5, 0.02)], [[head * 0.85, head * 1.15, head]])
    thick, reach, sit = dice.between(0.045, 0.09), dice.between(0.3, 0.42), dice.chance(0.2)
    for side in (-1.0, 1.0):
        shoulder = neck * 0.92 + point(side * wide, 0, 0)
        up, out = dice.between(-2.8, 1.6) if dice.chance(0.4) else dice.between(-3.1, -2.5), dice.between(-0.5, 0.9)
        elbow = shoulder + reach * unit(
            np.array([side * np.cos(up) * -1 if up < -1.6 else side * np.cos(up), np.sin(up), out])
        )
        hand = elbow + reach * unit(elbow - shoulder + dice.many(-0.2, 0.2, 3))
        solid.tube([shoulder, elbow, hand], thick * np.array([1.0, 0.8, 0.6]), sides=7)
        solid.ellipsoids([hand], [[thick * 0.7, thick * 1.3, thick * 0.8]], detail=5)
        swing = 1.4 if sit else dice.between(-0.5, 0.6)
        joint = hip + point(side * wide * 0.5, 0, 0)
        knee = joint + reach * 1.2 * np.array([side * dice.between(0, 0.3), -np.cos(swing), np.sin(swing)])
        foot = knee + reach * 1.2 * np.array([0, -1, -dice.between(0, 0.4)])
        solid.tube([joint, knee, foot], thick * np.array([1.7, 1.2, 0.8]), sides=8)
        solid.ellipsoids([foot + point(0, 0, 0.07)], [[0.05, 0.04, 0.13]], detail=5)
    if dice.chance(0.15):
        solid.revolve([[wide * dice.between(1.2, 2.4), -dice.between(0.3, 0.8)], [wide * 0.8, 0.1]], sides=14)
    if dice.chance(0.2):
        solid.revolve(
            [[head * 1.8, 0], [head * 0.9, 0.02], [head * 0.8, dice.between(0.05, 0.2)]],
            neck + point(0, head * 2.2, 0),
            sides=12,
        )


def branching(dice: Dice, solid: Solid) -> None:
    """Trunk, boughs and twigs, bare or with foliage of lumps, sheets or stacked cones."""
    tall, thick = dice.between(0.8, 1.8), dice.between(0.02, 0.12)
    trunk = curve([0, 0, 0], [dice.between(-0.2, 0.2), tall * 0.5, dice.between(-0.2, 0.2)], [0, tall, 0])
    solid.tube(trunk, np.linspace(thick, thick * 0.3, 7), sides=8)
    kind = dice.pick(["bare", "lumps", "lumps", "sheets", "conifer", "palm"])
    if kind == "conifer":
        layers, wide = dice.whole(1, 6), dice.between(0.25, 0.65)
        y = np.linspace(tall * 0.2, tall, layers + 1)
        for i in range(layers):
            r = wide * (1 - i / (layers + 0.5))
            solid.revolve([[r, y[i]], [0.01, y[i + 1] + 0.15]], sides=12)
        return
    n = dice.whole(3, 14)
    lowest = 0.95 if kind == "palm" else dice.between(0.2, 0.7)
    share = dice.many(lowest, 1.0, n)
    base = np.stack([np.interp(share, np.linspace(0, 1, 7), trunk[:, k]) for k in range(3)], axis=-1)
    around = dice.many(0, 2 * np.pi, n)
    out = np.stack([np.cos(around), np.zeros(n), np.sin(around)], axis=-1)
    reach = dice.between(0.3, 0.8) * dice.many(0.5, 1, n, 1)
    tips = base + out * reach + point(0, 1, 0) * reach * dice.many(-0.2, 1.3, n, 1)
    if kind == "palm":
        tips[:, 1] -= 0.4
    paths = curve(base, (base + tips) / 2 + point(0, dice.between(-0.15, 0.3), 0), tips, steps=6)
    if kind in ("sheets", "palm"):
        across = np.stack([-out[:, 2], np.zeros(n), out[:, 0]], axis=-1)[:, None, :]
        swell = np.sin(np.linspace(0.3, np.pi, 6))[:, None] * dice.between(0.04, 0.2)
        solid.loft(np.stack([paths - across * swell, paths + across * swell], axis=-2), closed=False)
        return
    solid.tube(paths, thick * np.linspace(0.5, 0.15, 6), sides=5)
    if kind == "lumps":
        size = dice.between(0.12, 0.4)
        solid.ellipsoids(tips, size * dice.many(0.6, 1.2, n, 3), detail=5)
    else:
        m = dice.whole(1, 4)
        starts = np.repeat(paths[:, 3], m, axis=0)
        ends = starts + np.repeat(tips - base, m, axis=0) * 0.4 + dice.many(-0.25, 0.25, n * m, 3)
        solid.rods(starts, ends, thick * 0.2, sides=4, taper=0.4)


def fingers(dice: Dice, solid: Solid) -> None:
    """A palm or hub with jointed or curling limbs in a fan or all around: hands, stars, spiders, octopuses."""
    fan = dice.chance(0.6)
    n = dice.whole(3, 6) if fan else dice.whole(3, 9)
    palm = dice.between(0.2, 0.4)
    if fan:
        solid.cushion((0, 0, 0), (palm * 2, palm * dice.between(1.6, 2.6), palm * dice.between(0.4, 0.9)), square=0.6)
        spread = np.linspace(-1, 1, n) * dice.between(0.1, 0.7)
        base = np.stack([np.linspace(-0.8, 0.8, n) * palm, np.full(n, palm * 0.9), np.zeros(n)], axis=-1)
        towards = np.stack([np.sin(spread), np.cos(spread), np.zeros(n)], axis=-1)
        if dice.chance(0.6):
            base[0], towards[0] = [-palm, -palm * 0.4, 0], unit(np.array([-1.0, 0.5, 0.3]))
    else:
        solid.ellipsoids([[0, 0, 0]], [dice.many(0.15, 0.4, 3)])
        spread = 2 * np.pi * np.arange(n) / n
        towards = np.stack([np.cos(spread), np.full(n, dice.between(-0.6, 0.6)), np.sin(spread)], axis=-1)
        base = towards * 0.15
    long = dice.between(0.3, 0.9) * dice.many(0.7, 1.0, n, 1)
    curl = np.array([0.0, 0.0, 1.0]) if fan else np.array([0.0, -1.0, 0.0])
    bend = dice.between(-0.3, 0.9) * dice.many(0.2, 1, n, 1)
    middle = base + towards * long * 0.6
    tips = middle + (towards * (1 - bend * 0.6) + curl * bend) * long * 0.5
    thick = dice.between(0.05, 0.11)
    if dice.chance(0.5):
        solid.tube(curve(base, middle, tips), thick * np.linspace(1, dice.between(0.2, 0.9), 7), sides=7)
    else:
        solid.tube(np.stack([base, middle, tips], axis=-2), thick * np.array([1, 0.9, 0.7]), sides=7)
    if fan and dice.chance(0.7):
        solid.rods(
            [[0, -palm * 0.8, 0]], [[0, -palm * dice.between(1.5, 4), 0]], palm * dice.between(0.4, 0.7), sides=10
        )


def winged(dice: Dice, solid: Solid) -> None:
    """A long body with mirrored thin wings or fins: birds, fish, insects, rockets, gliders."""
    long, fat = dice.between(0.8, 2.0), dice.between(0.06, 0.3)
    t = np.linspace(0, 1, 9)
    radii = fat * np.maximum(np.sin(np.pi * t ** dice.between(0.5, 1.6)) ** dice.between(0.3, 1.0), 0.04)
    path = np.stack([np.zeros(9), dice.between(-0.2, 0.2) * t * t, (t - 0.5) * long], axis=-1)
    solid.tube(path, radii, sides=10, flat=dice.between(0.4, 1.6))
    for _ in range(dice.whole(1, 4)):
        at, span, chord = dice.between(-0.5, 0.4) * long, dice.between(0.15, 1.1), dice.between(0.1, 0.6)
        sweep, rise, tip = dice.between(-0.6, 0.3), dice.between(-0.4, 0.8), chord * dice.between(0.05, 1.0)
        u = np.linspace(0, 1, 5)[:, None]
        rim = np.sin(np.pi * np.clip(u * dice.between(0.5, 1), 0, 1)) * dice.between(0, 0.3)
        width = chord + (tip - chord) * u + rim
        line = np.concatenate([u * span, rise * span * u ** dice.between(0.7, 2.0), at + sweep * u * span], axis=-1)
        front = np.stack([line + width * [0, 0, 0.5], line - width * [0, 0, 0.5]], axis=-2)
        kind = dice.pick(["pair", "pair", "upright", "cross"])
        turns = {"pair": [0.0], "upright": [np.pi / 2], "cross": [np.pi / 4, -np.pi / 4]}[kind]
        for turn in turns:
            wing = turned(front, spin(turn, 2))
            solid.loft(wing, closed=False)
            if kind != "upright":
                solid.loft(wing * [-1, 1, 1], closed=False)
    if dice.chance(0.3):
        solid.ellipsoids([[0, path[-1, 1], long / 2]], [dice.many(0.08, 0.25, 3)])


def slab(dice: Dice, solid: Solid) -> None:
    """Extruded random outlines, smooth, starred or cut, single, stacked or with a rim: plates, gears, tools, toys."""
    m = 40
    angle = 2 * np.pi * np.arange(m) / m
    y = 0.0
    for _ in range(dice.whole(1, 4)):
        kind = dice.pick(["fourier", "fourier", "star", "polygon", "super"])
        radius = np.full(m, dice.between(0.4, 1.0))
        if kind == "fourier":
            for k in range(1, 6):
                radius = radius * (1 + dice.between(0, 0.6) / k * np.cos(k * angle + dice.between(0, 6.3)))
        elif kind == "star":
            radius = radius * (1 + dice.between(0.1, 0.5) * np.sign(np.cos(dice.whole(3, 10) * angle)))
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[:, None]
        if kind == "super":
            outline = section(m, dice.between(0.1, 2.5)) * radius[:, None]
        if kind == "polygon":
            outline = section(dice.whole(3, 8)) * radius[0]
        thick = dice.between(0.03, 0.8)
        solid.extrude(outline * np.exp(dice.many(-0.4, 0.4, 2)), y, y + thick, axis=1, inset=dice.between(0.0, 0.25))
        y += thick * (1.0 if dice.chance(0.8) else 2.0)


def frame(dice: Dice, solid: Solid) -> None:
    """Rods, boards and panels repeated with symmetry: furniture, racks, fences, scaffolds, gates."""
    w, h, d = dice.many(0.3, 1.4, 3)
    thick = dice.between(0.02, 0.12)
    corners = np.array([[sx * w / 2, 0, sz * d / 2] for sx in (-1, 1) for sz in (-1, 1)])
    feet = corners * ([dice.between(0.6, 1.5), 1, dice.between(0.6, 1.5)] if dice.chance(0.4) else [1, 1, 1])
    if dice.chance(0.8):
        solid.rods(feet, corners + point(0, h, 0), thick / 2, sides=4 if dice.chance(0.5) else 7)
    levels = dice.many(0, 1, dice.whole(1, 5)) * h
    for level in levels:
        if dice.chance(0.5):
            solid.boxes([[0, level, 0]], [[w * dice.between(0.7, 1.2), thick * dice.between(0.3, 1.5), d]])
        else:
            at = corners + point(0, level, 0)
            solid.rods(at[[0, 1, 0, 2]], at[[2, 3, 1, 3]], thick * 0.35, sides=5)
    for _ in range(dice.whole(0, 3)):
        axis, n = dice.whole(0, 2), dice.whole(3, 12)
        place = np.zeros((n, 3)) + point(0, h / 2, 0)
        size = np.array([w, h, d]) * dice.many(0.3, 1.0, 3)
        place[:, axis] += np.linspace(-0.5, 0.5, n) * (w, h, d)[axis]
        place[:, (axis + 1) % 3] += dice.between(-0.5, 0.5) * (w, h, d)[(axis + 1) % 3]
        size[axis] = thick * dice.between(0.3, 1)
        size[(axis + 1) % 3] = thick * dice.between(0.3, 1)
        solid.boxes(place, size)
    if dice.chance(0.4):
        solid.boxes([[0, h * dice.between(0.5, 1.5), -d / 2]], [[w, h * dice.between(0.3, 1), thick * 0.5]])
    if dice.chance(0.3):
        hubs = corners + point(0, thick, 0)
        solid.rods(hubs - [thick, 0, 0], hubs + point(thick, 0, 0), dice.between(0.06, 0.3), sides=12)


def knot(dice: Dice, solid: Solid) -> None:
    """Tubes along random closed or open splines: helices, rings, hooks, knots, pretzels, letters."""
    t = np.linspace(0, 1, 40)
    for _ in range(dice.whole(1, 3)):
        kind = dice.pick(["wave", "helix", "spline", "spline"])
        if kind == "helix":
            turns, r = dice.between(1, 5) * 2 * np.pi, dice.between(0.2, 0.7) * (1 - dice.between(0, 0.9) * t)
            path = np.stack([r * np.cos(turns * t), dice.between(0.0, 1.6) * t, r * np.sin(turns * t)], axis=-1)
        elif kind == "wave":
            a = 2 * np.pi * t[:, None]
            path = sum(
                dice.many(-0.6, 0.6, 3) * np.cos(k * a + dice.many(0, 6.3, 3)) for k in range(1, dice.whole(2, 4))
            )
        else:
            knots = dice.many(-0.8, 0.8, dice.whole(3, 6), 3) * (1, 1, 0.0 if dice.chance(0.4) else 1)
            where = np.linspace(0, 1, len(knots))
            path = np.stack([np.interp(t, where, knots[:, k]) for k in range(3)], axis=-1)
            for _ in range(4):
                path[1:-1] = (path[:-2] + 2 * path[1:-1] + path[2:]) / 4
        radius = dice.between(0.03, 0.2) * (1 + dice.between(-0.8, 0.3) * t)
        solid.tube(np.asarray(path), radius, sides=8, flat=dice.between(0.5, 1.0), square=dice.between(0.4, 1.0))


def vehicle(dice: Dice, solid: Solid) -> None:
    """A hull of changing section with cabin, wheels, tracks, mast, rotor, barrel or keel."""
    n, long = 8, dice.between(1.2, 2.4)
    z = np.linspace(-0.5, 0.5, n) * long
    w, h = dice.between(0.2, 0.5), dice.between(0.12, 0.5)
    ends = np.minimum(1, 0.1 + dice.between(1.5, 12) * (0.5 - np.abs(z / long)))
    rear = np.where(z < 0, dice.between(0.5, 1.0), 0.0)
    shape = section(14, dice.between(0.25, 1.1)) * [w, h]
    rings = np.empty((n, 14, 3))
    rings[..., :2] = shape * np.maximum(ends, rear)[:, None, None]
    rings[..., 1] += dice.between(-0.2, 0.4) * (z[:, None] / long) ** 2
    rings[..., 2] = z[:, None]
    solid.loft(rings)
    for _ in range(dice.whole(0, 3)):
        size = np.array([w * dice.between(0.4, 1.8), dice.between(0.1, 0.5), long * dice.between(0.1, 0.6)])
        place = [0, h + size[1] * 0.3, dice.between(-0.35, 0.35) * long]
        solid.cushion(place, size, square=dice.between(0.15, 1.0))
    if dice.chance(0.55):
        axles, r = dice.whole(1, 4), dice.between(0.1, 0.32)
        hubs = np.array(
            [[s * w, -h * dice.between(0.7, 1.1), p] for p in np.linspace(-0.35, 0.35, axles) * long for s in (-1, 1)]
        )
        solid.rods(hubs - [0.06, 0, 0], hubs + point(0.06, 0, 0), r, sides=14)
    if dice.chance(0.3):
        tall = dice.between(0.4, 1.6)
        solid.rods([[0, h * 0.8, 0]], [[0, h + tall, 0]], 0.03)
        if dice.chance(0.5):
            solid.add(np.array([[[0, h + 0.1, 0.03], [0, h + 0.1, dice.between(0.3, 0.9)], [0, h + tall, 0.03]]]))
        else:
            solid.boxes(
                [[0, h + tall, 0]] * 2, [[dice.between(0.8, 2), 0.03, 0.08], [0.08, 0.03, dice.between(0.1, 2)]]
            )
    if dice.chance(0.2):
        solid.rods([[0, h * 1.2, 0]], [[0, h * dice.between(1.2, 2), long * dice.between(0.5, 0.9)]], 0.05)
    if dice.chance(0.25):
        solid.boxes([[0, dice.between(-h, h * 1.4), -long * 0.45]], [[dice.between(0.05, 1.2), 0.4, 0.15]])


def sheets(dice: Dice, solid: Solid) -> None:
    """Thin folded, rolled or wavy sheets: cloths, books, leaves, shells, hats, umbrellas."""
    n = 13
    u, v = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    for _ in range(dice.whole(1, 3)):
        kind = dice.pick(["waves", "roll", "fold", "dome"])
        if kind == "waves":
            z = sum(
                dice.between(-0.3, 0.3) * np.sin(dice.between(-4, 4) * u + dice.between(-4, 4) * v) for _ in range(3)
            )
            grid = np.stack([u, np.asarray(z), v * dice.between(0.3, 1)], axis=-1)
        elif kind == "roll":
            angle, r = u * dice.between(0.5, 3.1), 0.5 * (1 + dice.between(-0.4, 0.4) * u + dice.between(-0.5, 0.5) * v)
            grid = np.stack([r * np.cos(angle), v * dice.between(0.3, 1.2), r * np.sin(angle)], axis=-1)
        elif kind == "fold":
            grid = np.stack([u, np.abs(u - dice.between(-0.5, 0.5)) * dice.between(-1.5, 1.5), v], axis=-1)
        else:
            r, angle = (u + 1) / 2, v * np.pi
            ribs = 1 + dice.between(0, 0.15) * np.cos(dice.whole(4, 9) * angle)
            grid = np.stack([r * np.cos(angle) * ribs, dice.between(-1, 1) * r**2, r * np.sin(angle) * ribs], axis=-1)
        grid = grid * dice.many(0.4, 1.0, 3)
        solid.loft(turned(grid, any_turn(dice.rng)) if dice.chance(0.3) else grid, closed=False)
    if dice.chance(0.4):
        solid.rods([[0, dice.between(-1.5, 0), 0]], [[0, dice.between(0, 1), 0]], 0.04)


def tool(dice: Dice, solid: Solid) -> None:
    """Elements along one axis: handles, blades, heads, bulbs, barrels: cutlery, hammers, swords, columns, torches."""
    y = 0.0
    turn = spin(np.pi / 2, 0) if dice.chance(0.5) else np.eye(3)
    line = Solid()
    for _ in range(dice.whole(2, 6)):
        long, r = dice.between(0.05, 0.9), dice.between(0.02, 0.16)
        kind = dice.pick(["rod", "cone", "bulb", "blade", "head", "disc", "prongs", "loop"])
        if kind in ("rod", "cone"):
            line.rods(
                [[0, y, 0]], [[0, y + long, 0]], r, taper=1.0 if kind == "rod" else dice.between(0.1, 2.0), sides=10
            )
        elif kind == "bulb":
            long = r * dice.between(1, 4)
            line.ellipsoids([[0, y + long / 2, 0]], [[r * dice.between(1, 2.5), long / 2, r * dice.between(0.5, 2.5)]])
        elif kind == "blade":
            wide = np.array([0.9, 1, 0.9, 0.7, 0.1]) * dice.between(0.04, 0.25)
            path = curve([0, y, 0], [0, y + long / 2, 0], [dice.between(-0.2, 0.2), y + long, 0], steps=5)
            line.tube(path, wide, sides=8, flat=dice.between(0.05, 0.3))
        elif kind == "head":
            long = dice.between(0.1, 0.3)
            line.boxes(
                [[dice.between(-0.1, 0.1), y + long / 2, 0]], [[dice.between(0.2, 0.8), long, dice.between(0.08, 0.3)]]
            )
        elif kind == "disc":
            long = dice.between(0.02, 0.08)
            line.revolve([[r * 3, y], [r * dice.between(1, 3), y + long]], sides=16)
        elif kind == "prongs":
            n = dice.whole(2, 5)
            x = np.linspace(-1, 1, n) * dice.between(0.05, 0.25)
            low = np.stack([x, np.full(n, y), np.zeros(n)], axis=-1)
            line.rods(low, low + point(0, long, 0), 0.025, sides=5)
            line.boxes([[0, y, 0]], [[abs(x[0]) * 2 + 0.05, 0.05, 0.04]])
        else:
            around = np.linspace(0, 2 * np.pi, 17)
            size = dice.between(0.08, 0.35)
            ring = np.stack([size * np.sin(around), y + size * (1 - np.cos(around)), np.zeros(17)], axis=-1)
            line.tube(ring, dice.between(0.02, 0.05), sides=6, caps=False)
            long = 2 * size
        y += long
    solid.add(turned(line.triangles(), turn))
