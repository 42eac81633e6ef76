"""Images as inputs: every layout, every fault, the same numbers in memory and not, and the whole way to an answer."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pointsmith.core.adapters import read_adapter_config
from pointsmith.core.config import RunConfig, parse_config
from pointsmith.core.data import images as images_module
from pointsmith.core.data import picture
from pointsmith.core.data.augment import augment_images
from pointsmith.core.data.config import ImagesData, VtabData
from pointsmith.core.data.feed import to_input
from pointsmith.core.data.files import read_untrusted_image
from pointsmith.core.data.images import Images
from pointsmith.core.data.kinds import data_kind, require_modality
from pointsmith.core.data.load import load
from pointsmith.core.data.picture import ImagePreparation, fit, image_of, read_image
from pointsmith.core.errors import UserError
from pointsmith.core.predict import Predictor
from pointsmith.core.training import train

from tests.support.curves import curve
from tests.support.paths import SHARED
from tests.support.processes import PATIENCE

SIGNS = SHARED / "sign-digits"
COLOURS = {"blue": (40, 60, 220), "green": (30, 200, 40), "red": (220, 40, 30)}
VIT = {"kind": "vit-b16", "weights": "random", "image_size": 16, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2}


def photo(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """A noisy picture of one colour, as (width, height)."""
    noise = np.random.default_rng(seed).integers(-30, 30, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def fill(root: Path, count: int = 8, first: int = 0) -> Path:
    for label, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            photo(colour, 100 * label + i).save(root / name / f"{i}.png")
    return root


def images(path: Path, **changes: Any) -> ImagesData:
    return ImagesData.model_validate({"path": path, "preparation": ImagePreparation(size=16), **changes})


def refused(config: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def squares(split: Any) -> np.ndarray:
    assert isinstance(split, Images)
    return np.stack([split.square(i) for i in range(len(split))])


def tiny_run(path: Path, **changes: Any) -> RunConfig:
    return parse_config(
        {
            "backbone": VIT,
            "method": {"kind": "full"},
            "data": {"kind": "images", "path": str(path), "preparation": {"size": 16}, "validation": 0.25},
            "epochs": 3,
            "batch_size": 4,
            **changes,
        }
    )


# One file


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    ramp = np.arange(0, 65536, 512, dtype=np.uint16).reshape(8, 16)
    grey = (ramp / 257).round().astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "sixteen.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    sixteen = np.asarray(read_image(tmp_path / "sixteen.png", "a"))
    assert np.array_equal(sixteen, np.asarray(read_image(tmp_path / "grey.png", "b")))
    assert np.array_equal(sixteen, np.repeat(grey[..., None], 3, axis=2))

    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2] = (255, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    seen = np.asarray(read_image(tmp_path / "clear.png", "c"))
    assert (seen[:2] == (255, 0, 0)).all() and (seen[2:] == 255).all()

    photo(COLOURS["red"], 0).convert("P").save(tmp_path / "palette.gif")
    photo(COLOURS["red"], 0).convert("CMYK").save(tmp_path / "print.jpg")
    for name in ("palette.gif", "print.jpg"):
        red, green, _ = np.asarray(read_image(tmp_path / name, name)).reshape(-1, 3).mean(axis=0)
        assert red > 180 and green < 90


def test_photographs_stand_upright(tmp_path: Path) -> None:
    wide = Image.new("RGB", (30, 10), "white")
    wide.paste("black", (0, 0, 10, 10))
    turned = Image.Exif()
    turned[0x0112] = 6  # turn clockwise to show
    wide.save(tmp_path / "phone.png", exif=turned)
    seen = read_image(tmp_path / "phone.png", "phone.png")
    assert seen.size == (10, 30)
    assert np.asarray(seen)[:10].max() == 0 and np.asarray(seen)[10:].min() == 255


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(tmp_path / "moving.gif", "moving.gif"))[0, 0].tolist() == [255, 0, 0]


def test_faulty_files_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo((1, 2, 3), 0, (64, 64)).save(tmp_path / "torn.jpg")
    content = (tmp_path / "torn.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    said = {"torn.jpg": "truncated", "empty.png": "format", "text.png": "format", "program.png": "format"}
    for name, reason in {**said, "float.tif": "floats", "absent.png": "does not exist"}.items():
        with pytest.raises(UserError, match=f"(?i){name}.*{reason}"):
            read_image(tmp_path / name, name)
    monkeypatch.setattr(picture, "MOST_PIXELS", 100)
    photo((1, 2, 3), 0).save(tmp_path / "huge.png")
    with pytest.raises(UserError, match=r"huge\.png is too large to decode: '20 × 24 pixels'"):
        read_image(tmp_path / "huge.png", "huge.png")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")  # 400 megapixels in some 50 kB
    with pytest.raises(UserError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png", "bomb.png")


def test_the_square_is_what_the_papers_make_and_the_crop_keeps_proportions() -> None:
    wide = Image.new("RGB", (40, 20), "black")
    wide.paste("white", (10, 0, 30, 20))
    stretched = fit(wide, ImagePreparation(size=8))
    assert np.array_equal(stretched, np.asarray(wide.resize((8, 8), Image.Resampling.BICUBIC)))
    cropped = fit(wide, ImagePreparation(size=8, resize="crop"))
    assert np.array_equal(cropped, np.asarray(wide.resize((16, 8), Image.Resampling.BICUBIC))[:, 4:12])


def test_colours_are_normalised_as_named() -> None:
    pixels = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    expected = {"none": [1, 1, 1], "inception": [1, 1, 1], "imagenet": [2.2489, 2.4286, 2.6400]}
    for how, values in expected.items():
        found = to_input(pixels, ImagePreparation(size=8, normalize=how))  # type: ignore[arg-type]
        assert found.shape == (1, 3, 8, 8) and found.dtype == torch.float32
        assert torch.allclose(found[0, :, 0, 0], torch.tensor(values, dtype=torch.float32), atol=1e-4)


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 3), np.float32), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 0), np.uint8)]
)
def test_arrays_that_are_no_images(wrong: np.ndarray) -> None:
    with pytest.raises(UserError, match="x is not an image"):
        image_of(wrong, "x")


# Layouts


def test_a_folder_with_a_held_out_test_and_validation_part(tmp_path: Path) -> None:
    data = load(images(fill(tmp_path / "set"), test_share=0.25, validation=0.2))
    assert data.classes == ("blue", "green", "red") and data.validation is not None and data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [15, 3, 6]
    everything = [*data.train.names, *data.validation.names, *data.test.names]
    assert len(set(everything)) == 24 and "red/3.png" in everything
    for part in (data.train, data.validation, data.test):
        means = squares(part).reshape(len(part), -1, 3).mean(axis=1)
        assert (means.argmax(axis=1) == np.array([2, 1, 0])[part.labels]).all()
    assert any("6 of 24 images were held out" in note for note in data.notes)


def test_a_zip_with_given_parts_is_kept_while_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "set" / "train")
    fill(tmp_path / "set" / "val", 2, first=20)
    fill(tmp_path / "set" / "test", 3, first=40)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
    whole, packed = load(images(tmp_path / "set")), load(images(tmp_path / "set.zip"))
    assert [len(part) for part in (packed.train, packed.validation, packed.test)] == [24, 6, 9]  # type: ignore[arg-type]
    assert packed.fingerprint == whole.fingerprint
    assert np.array_equal(squares(packed.train), squares(whole.train))

    monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    packed = load(images(tmp_path / "set.zip"))
    assert isinstance(packed.train, Images) and packed.train.pixels is None
    unpacked = packed.train.files[0]
    assert np.array_equal(squares(packed.train), squares(whole.train))
    del packed
    gc.collect()
    assert not unpacked.exists()


def test_lists_with_labels_as_words_and_as_numbers(tmp_path: Path) -> None:
    fill(tmp_path / "my photos", 4)
    rows = [(f"my photos/{name}/{i}.png", name) for name in COLOURS for i in range(4)]
    (tmp_path / "all.csv").write_text("file,label\n" + "".join(f"{file},{label}\n" for file, label in rows))
    data = load(images(tmp_path / "all.csv", test_share=0.25, validation=0.25))
    assert data.classes == ("blue", "green", "red") and len(data.train) == 6

    numbers = {"blue": 10, "green": 9, "red": 2}
    for part, chosen in {"train": rows[1:], "test": rows[:1]}.items():
        lines = "".join(f"{file} {numbers[label]}\n" for file, label in chosen)
        (tmp_path / f"{part}.txt").write_text(lines)
    data = load(images(tmp_path / "train.txt", test=tmp_path / "test.txt", validation=0.25))
    assert data.classes == ("2", "9", "10")
    assert data.test is not None and data.test.names == ("my photos/blue/0.png",) and data.test.labels.tolist() == [2]
    assert "no test image of: 2, 9" in data.notes


def test_lists_with_class_names_from_a_file(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    lines = [f"{name}/{i}.png {label}" for label, name in enumerate(COLOURS) for i in range(4)]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "names.txt").write_text("sky\ngrass\nbrick\n")
    data = load(images(tmp_path / "train.txt", classes=tmp_path / "names.txt"))
    assert data.classes == ("sky", "grass", "brick")
    (tmp_path / "names.txt").write_text("sky\ngrass\n")
    assert "labels that no class fits: ['2']" in refused(images(tmp_path / "train.txt", classes=tmp_path / "names.txt"))


def vtab(root: Path, task: str = "kitti", prefix: str = "", classes: int = 4) -> VtabData:
    """Write a task in NOAH's layout: 12 training images in two lists, 6 to test."""
    folder = root / task
    lists: dict[str, list[str]] = {"train800": [], "val200": [], "test": []}
    for i in range(18):
        part = "train800" if i < 8 else "val200" if i < 12 else "test"
        place = folder / "images" / ("test" if part == "test" else "train800val200")
        place.mkdir(parents=True, exist_ok=True)
        photo((10 * i, 5, 5), i).save(place / f"{i:06d}.jpg")
        lists[part].append(f"{prefix}images/{place.name}/{i:06d}.jpg {i % classes}")
    lists["train800val200"] = lists["train800"] + lists["val200"]
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return VtabData.model_validate({"path": root, "task": task, "preparation": ImagePreparation(size=16)})


@pytest.mark.parametrize("prefix", ["", "kitti/"])
def test_vtab_trains_on_the_thousand_and_tunes_on_eight_hundred(tmp_path: Path, prefix: str) -> None:
    config = vtab(tmp_path / "vtab-1k", prefix=prefix)
    data = load(config)
    assert (len(data.train), data.validation, data.test and len(data.test)) == (12, None, 6)
    assert data.classes == tuple(f"class {i}" for i in range(4))
    tuning = load(config.model_copy(update={"tune": True}))
    assert (len(tuning.train), len(tuning.validation or ()), len(tuning.test or ())) == (8, 4, 6)
    assert data.train.names[:8] == tuning.train.names
    inside = load(config.model_copy(update={"path": tmp_path / "vtab-1k" / "kitti"}))
    assert inside.fingerprint == data.fingerprint


def test_vtab_needs_every_image_and_knows_its_labels(tmp_path: Path) -> None:
    config = vtab(tmp_path)
    assert "There is no task svhn" in refused(config.model_copy(update={"task": "svhn"}))
    lost = next((tmp_path / "kitti" / "images" / "test").iterdir())
    lost.unlink()
    said = refused(config)
    assert "1 of 18 images of kitti are missing or broken" in said and lost.name in said
    (tmp_path / "kitti" / "val200.txt").unlink()
    assert "The list val200.txt of kitti is missing" in refused(config.model_copy(update={"tune": True}))
    vtab(tmp_path, classes=6)
    assert "a label that kitti does not have" in refused(config)


def test_every_vtab_task_has_its_number_of_classes() -> None:
    from pointsmith.core.data.config import VTAB_CLASSES

    field = VtabData.model_json_schema()["properties"]["task"]
    assert set(field["enum"]) == set(VTAB_CLASSES) and len(VTAB_CLASSES) == 19
    assert sum(VTAB_CLASSES.values()) == 940  # 19 × the mean head of 49.5 outputs behind "Linear 0.04 M"


# Faults of data sets


def test_broken_files_are_left_out_and_named(tmp_path: Path) -> None:
    fill(tmp_path)
    clean = load(images(tmp_path))
    (tmp_path / "red" / "zz.png").write_text("no image")
    (tmp_path / "red" / "notes.docx").write_text("")
    content = (tmp_path / "blue" / "0.png").read_bytes()
    (tmp_path / "blue" / "torn.png").write_bytes(content[:200])
    data = load(images(tmp_path))
    assert data.fingerprint == clean.fingerprint
    assert sum(note.startswith("skipped: ") for note in data.notes) == 2
    assert any("red/zz.png" in note for note in data.notes) and any("blue/torn.png" in note for note in data.notes)
    assert any("1 files were ignored" in note for note in data.notes)


def test_files_missing_from_a_list_are_left_out_and_named(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    lines = [f"{name}/{i}.png,{name}" for name in COLOURS for i in range(5)]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    data = load(images(tmp_path / "all.csv", test_share=0.25, validation=0.25))
    missing = [note for note in data.notes if "does not exist" in note]
    assert len(missing) == 3 and "red/4.png" in missing[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no image"),
        ("a.png,x\nb.png\n", "line 2 is not a file and its label"),
        ("blue/0.png,x\nblue/1.png,x\n", "a single class"),
        ("blue/0.png,x\nblue/1.png,x\nno.png,y\nno2.png,y", "class y has too few images in the train part"),
    ],
)
def test_unsound_lists(tmp_path: Path, text: str, said: str) -> None:
    fill(tmp_path, 2)
    (tmp_path / "all.csv").write_text(text)
    assert said in refused(images(tmp_path / "all.csv"))


def test_unsound_folders(tmp_path: Path) -> None:
    assert "the data set does not exist" in refused(images(tmp_path / "none"))
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "b").mkdir()
    assert "class folder a (train) holds no image" in refused(images(tmp_path / "set"))
    fill(tmp_path / "ok", 4)
    assert "belong to list files" in refused(images(tmp_path / "ok", test=tmp_path / "test.txt"))


# In memory or not


def test_decoding_by_batch_gives_the_very_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    resident = load(images(tmp_path))
    monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    lazy = load(images(tmp_path))
    assert isinstance(resident.train, Images) and resident.train.pixels is not None
    assert isinstance(lazy.train, Images) and lazy.train.pixels is None
    assert lazy.fingerprint == resident.fingerprint and lazy.train.names == resident.train.names
    order = np.random.default_rng(0).permutation(len(lazy.train))
    indices = [order[:5], order[5:6], order[6:]]
    cpu = torch.device("cpu")
    one, two = resident.train.feed(cpu), lazy.train.feed(cpu)
    pairs = list(zip(one.batches(indices), two.batches(indices), strict=True))
    assert len(pairs) == 3 and all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(one.labels, two.labels) and list(two.batches([])) == []

    started = two.batches(indices)
    next(started)
    os.remove(lazy.train.files[order[7]])
    with pytest.raises(UserError, match="does not exist"):
        list(started)


def test_the_fingerprint_sees_content_and_preparation(tmp_path: Path) -> None:
    fill(tmp_path)
    before = load(images(tmp_path)).fingerprint
    assert load(images(tmp_path)).fingerprint == before
    assert load(images(tmp_path, preparation=ImagePreparation(size=16, resize="crop"))).fingerprint != before
    photo(COLOURS["red"], 999).save(tmp_path / "red" / "0.png")
    assert load(images(tmp_path)).fingerprint != before


def test_augmentation_mirrors_and_moves_reproducibly() -> None:
    batch = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def of(kind: Any, seed: int = 1) -> torch.Tensor:
        return augment_images(batch, kind, torch.Generator().manual_seed(seed))

    assert of("none") is batch
    flipped = of("flip")
    mirrored = [torch.equal(flipped[i], batch[i].flip(2)) for i in range(64)]
    same = [torch.equal(flipped[i], batch[i]) for i in range(64)]
    assert 16 < sum(mirrored) < 48 and sum(mirrored) + sum(same) == 64
    moved = of("crop-flip")
    assert (
        moved.shape == batch.shape
        and torch.equal(moved, of("crop-flip"))
        and not torch.equal(moved, of("crop-flip", 2))
    )
    # Every pixel comes from the image itself, at most two to each side.
    assert all(torch.isin(moved[i], batch[i]).all() for i in range(64))
    middle = moved[0, :, 4:12, 4:12]
    windows = (batch[0], batch[0].flip(2))
    shifts = [(w, y, x) for w in windows for y in range(2, 7) for x in range(2, 7)]
    assert sum(torch.equal(middle, w[:, y : y + 8, x : x + 8]) for w, y, x in shifts) == 1


# Configurations


def test_modalities_must_agree(tmp_path: Path) -> None:
    points = {"kind": "own", "weights": "random"}
    with pytest.raises(UserError, match=r"backbone vit-b16 reads images, and the data `demo` are points.*images, vtab"):
        parse_config({"backbone": {"kind": "vit-b16"}})
    with pytest.raises(UserError, match=r"backbone own reads points, and the data `images` are images.*vit-b16"):
        parse_config({"backbone": points, "data": {"kind": "images", "path": "x"}})
    with pytest.raises(UserError, match=r"data\.preparation\.size is not the size.*224.*Expected 16"):
        tiny_run(tmp_path, data={"kind": "images", "path": "x"})
    assert tiny_run(tmp_path, augment={"kind": "none"}).unused == tiny_run(tmp_path).unused == ""
    vtab_data = {"kind": "vtab", "path": "x", "preparation": {"size": 16}}
    with pytest.raises(UserError, match=r"select is `validation` but data\.tune is off"):
        tiny_run(tmp_path, data=vtab_data)
    assert tiny_run(tmp_path, data=vtab_data, select="last").data.kind == "vtab"
    assert tiny_run(tmp_path, data={**vtab_data, "tune": True}).select == "validation"


def test_what_a_path_holds_is_seen(tmp_path: Path) -> None:
    fill(tmp_path / "photos" / "train", 2)
    (tmp_path / "scans" / "a").mkdir(parents=True)
    (tmp_path / "scans" / "a" / "x.ply").touch()
    (tmp_path / "list.txt").write_text("a b/c.JPG 3\n")
    (tmp_path / "notes.txt").write_text("buy milk\n")
    (tmp_path / "list.csv").write_text('file,label\n"a.png",dog\n')
    found = {
        name: data_kind(tmp_path / name) for name in ("photos", "scans", "list.txt", "list.csv", "notes.txt", "no")
    }
    expected = {"photos": "images", "scans": "folder", "list.txt": "images", "list.csv": "images"}
    assert found == {**expected, "notes.txt": None, "no": None}
    with pytest.raises(UserError, match=r"a\.jpg is an image, and this adapter reads points"):
        require_modality("a.jpg", "points")
    require_modality("a.jpg", "images")
    require_modality("a.unknown", "points")


# The whole way


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("photos"), 10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> tuple[Path, list[Any]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, list(train(tiny_run(photos, optim={"lr": 3e-3}, epochs=4), folder, device="cpu"))


def test_a_vit_learns_colours_and_its_adapter_answers_the_same(whole: tuple[Path, list[Any]], photos: Path) -> None:
    folder, events = whole
    test = next(event for event in events if event.kind == "scores" and event.split == "test")
    assert test.accuracy == 1.0 and events[-1].kind == "finished"
    config = read_adapter_config(folder / "adapter")
    assert config.preparation == ImagePreparation(size=16)
    predictor = Predictor.load(folder / "adapter")
    assert predictor.modality == "images"
    path = photos / "green" / "3.png"
    answers = predictor.predict([path, str(path), Image.open(path), np.asarray(Image.open(path))])
    assert [one.label for one in answers] == ["green"] * 4
    assert all(np.array_equal(one.logits, answers[0].logits) for one in answers)
    assert answers[0].inputs.shape == (16, 16, 3) and answers[0].patch is None
    square = predictor.predict([answers[0].inputs], raw=True)[0]
    assert np.allclose(square.logits, answers[0].logits, atol=1e-6)
    with pytest.raises(UserError, match="has no points"):
        _ = answers[0].points
    with pytest.raises(UserError, match="image 1 is not an image"):
        predictor.predict([np.zeros((50, 3), np.float32)])
    with pytest.raises(UserError, match="not of the model's size: '20 × 24'"):
        predictor.predict([path], raw=True)
    card = (folder / "adapter" / "README.md").read_text()
    assert "photo.jpg" in card and "16 × 16 pixels" in card and "cloud" not in card


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("stop_after", [2, 6])
def test_a_resumed_run_has_the_same_numbers(
    whole: tuple[Path, list[Any]],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int,
    lazy: bool,
) -> None:
    if lazy:
        monkeypatch.setattr(images_module, "RESIDENT_BYTES", 0)
    config, asked = tiny_run(photos, optim={"lr": 3e-3}, epochs=4), iter(range(10**6))
    first = list(train(config, tmp_path, device="cpu", stop=lambda: next(asked) > stop_after))
    assert first[-1].kind == "interrupted"
    second = list(train(config, tmp_path, device="cpu"))
    assert curve(first) + curve(second) == curve(whole[1])


def test_augmented_images_train_too(photos: Path, tmp_path: Path) -> None:
    data = {"kind": "images", "path": str(photos), "preparation": {"size": 16}, "augment": "crop-flip"}
    turned = {"augment": {"kind": "rotate"}}
    events = list(train(tiny_run(photos, data=data, epochs=1, **turned), tmp_path, device="cpu"))
    assert events[-1].kind == "finished"
    warned = [event.message for event in events if event.kind == "note" and event.level == "warning"]
    assert len(warned) == 1 and warned[0].startswith("augment is for point clouds and does nothing here")


def test_a_predictor_of_clouds_refuses_pictures(tmp_path: Path) -> None:
    from tests.support.tiny import tiny_run as run_of_clouds

    list(train(run_of_clouds(epochs=1), tmp_path, device="cpu"))
    predictor = Predictor.load(tmp_path / "adapter")
    for given in (Image.new("RGB", (9, 9)), "photo.jpg"):
        with pytest.raises(UserError, match="is not a point cloud, and this adapter reads points"):
            predictor.predict([given])  # type: ignore[list-item]


@pytest.mark.skipif(not SIGNS.is_dir(), reason="the photographs of signs are not here")
def test_real_photographs_by_their_lists() -> None:
    data = load(images(SIGNS / "train800.txt", test=SIGNS / "test.txt", validation=0.2))
    assert data.classes == tuple("0123456789") and data.validation is not None and data.test is not None
    assert (len(data.train) + len(data.validation), len(data.test)) == (800, 1062)
    assert not [note for note in data.notes if note.startswith("skipped")]
    assert not {*data.train.names, *data.validation.names} & set(data.test.names)


def test_a_strangers_file_is_decoded_in_a_child(tmp_path: Path) -> None:
    photo(COLOURS["red"], 0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    expected = np.asarray(read_image(tmp_path / "a.png", "a.png"))
    assert np.array_equal(read_untrusted_image(tmp_path / "a.png"), expected)
    with pytest.raises(UserError, match=r"b\.png cannot be read as an image"):
        read_untrusted_image(tmp_path / "b.png")


def test_parsing_files_needs_no_torch() -> None:
    """The child of an upload starts in a fraction of a second, and its memory limit has no room for more."""
    code = "import sys, pointsmith.core.data.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE).returncode == 0
