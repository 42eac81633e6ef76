"""The published layouts of the benchmarks in miniature, written byte for byte as their authors wrote them."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
from pointsmith.core.data.names import MODELNET40

Tree = dict[str, tuple[np.ndarray, np.ndarray]]


def clouds(count: int, points: int, seed: int = 0, width: int = 3) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, points, width)) * 3 + 1).astype(np.float32)


def scanobjectnn_tree(root: Path, per_class: int = 2, points: int = 64) -> dict[str, Tree]:
    """Write `h5_files` of all three variants; return {variant: {part: (data, label)}}."""
    places = {
        "objbg": ("main_split", ""),
        "objonly": ("main_split_nobg", ""),
        "hardest": ("main_split", "_augmentedrot_scale75"),
    }
    written: dict[str, Tree] = {}
    for number, (variant, (folder, ending)) in enumerate(places.items()):
        written[variant] = {}
        for at, part in enumerate(("training", "test")):
            data = clouds(15 * per_class, points, seed=10 * number + at)
            label = np.arange(15 * per_class, dtype=np.int32) % 15
            path = root / folder / f"{part}_objectdataset{ending}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file["data"], file["label"] = data, label
                file["mask"] = np.where(data[:, :, 0] > 0, -1, 3)
            written[variant][{"training": "train"}.get(part, part)] = (data, label)
    return written


def modelnet_txt(root: Path, per_class: int = 2, points: int = 48) -> dict[str, np.ndarray]:
    """Write `modelnet40_normal_resampled`; return {object: (points, 6)} as rounded in the files."""
    folder = root / "modelnet40_normal_resampled"
    listed: dict[str, list[str]] = {"train": [], "test": []}
    written: dict[str, np.ndarray] = {}
    for label, name in enumerate(MODELNET40):
        (folder / name).mkdir(parents=True)
        for i in range(2 * per_class):
            one = f"{name}_{i + 1:04d}"
            rows = clouds(1, points, seed=100 * label + i, width=6)[0]
            text = "".join(",".join(f"{value:.6f}" for value in row) + "\n" for row in rows)
            (folder / name / f"{one}.txt").write_text(text)
            written[one] = np.array([[float(f"{value:.6f}") for value in row] for row in rows], np.float32)
            listed["train" if i < per_class else "test"].append(one)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET40) + "\n")
    for part, names in listed.items():
        (folder / f"modelnet40_{part}.txt").write_text("\n".join(names) + "\n")
    return written


def modelnet_h5(root: Path, points: int = 48) -> Tree:
    """Write `modelnet40_ply_hdf5_2048`: two files to train on, one to test on, and lists that name foreign folders."""
    folder = root / "modelnet40_ply_hdf5_2048"
    folder.mkdir(parents=True)
    found: Tree = {}
    for part, files in (("train", 2), ("test", 1)):
        names: list[str] = []
        data, label = clouds(40 * files, points, seed=files), np.arange(40 * files) % 40
        for i in range(files):
            names.append(f"data/modelnet40_ply_hdf5_2048/ply_data_{part}{i}.h5")
            with h5py.File(folder / f"ply_data_{part}{i}.h5", "w") as file:
                file["data"] = data[40 * i : 40 * i + 40]
                file["label"] = label[40 * i : 40 * i + 40, None].astype(np.uint8)
                file["normal"] = data[40 * i : 40 * i + 40]
        (folder / f"{part}_files.txt").write_text("\n".join(names) + "\n")
        found[part] = (data, label)
    (folder / "shape_names.txt").write_text("\n".join(MODELNET40) + "\n")
    return found


def modelnet_dat(root: Path, points: int = 48, per_class: int = 1) -> Tree:
    """Write the papers' caches: pickles of [list of (N, 6) float32, list of (1,) int32]."""
    root.mkdir(parents=True, exist_ok=True)
    found: Tree = {}
    for seed, part in enumerate(("train", "test")):
        data = clouds(40 * per_class, points, seed=seed, width=6)
        label = np.arange(40 * per_class) % 40
        with (root / f"modelnet40_{part}_8192pts_fps.dat").open("wb") as file:
            pickle.dump([list(data), [np.array([one]).astype(np.int32) for one in label]], file)
        found[part] = (data[:, :, :3], label)
    return found


def modelnet_off(root: Path, classes: tuple[str, ...] = MODELNET40) -> Path:
    """Write one box a class and part as .off, every second one with its counts glued to the header, as some have."""
    folder = root / "ModelNet40"
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
    faces = [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)]
    faces += [(2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
    for label, name in enumerate(classes):
        for part in ("train", "test"):
            (folder / name / part).mkdir(parents=True)
            for i in range(2 if part == "train" else 1):
                glue = "" if i else "\n"
                text = f"OFF{glue}{len(corners)} {len(faces)} 0\n"
                text += "".join(f"{x} {y} {z}\n" for x, y, z in corners * (1, 2, 3 + label))
                text += "".join(f"3 {a} {b} {c}\n" for a, b, c in faces)
                (folder / name / part / f"{name}_{i + 1:04d}.off").write_text(text)
    return folder


def fewshot_fold(path: Path, originals: list[int], shot: int = 2, queries: int = 3, points: int = 48) -> Tree:
    """Write a fold as Point-BERT's generator pickles it: lists of (points (N, 6), label, original label)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found: Tree = {}
    content: dict[str, list[tuple[np.ndarray, int, int]]] = {}
    for seed, (part, count) in enumerate((("train", shot), ("test", queries))):
        data = clouds(len(originals) * count, points, seed=seed + originals[0], width=6)
        label = np.arange(len(data)) % len(originals)
        content[part] = [(one, int(at), originals[at]) for one, at in zip(data, label, strict=True)]
        found[part] = (data[:, :, :3], label)
    with path.open("wb") as file:
        pickle.dump(content, file)
    return found
