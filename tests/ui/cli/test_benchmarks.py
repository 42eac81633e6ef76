"""Few-shot tasks and voting on the command line: folds that are not run twice, votes that say that they are votes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pointsmith.ui.cli.run_options import RunOptions, make_run

from tests.support.cli import TINY, Call, make_shapes
from tests.support.layouts import fewshot_fold, modelnet_dat, scanobjectnn_tree

FEW = [*TINY, "--epochs", "2", "--way", "2", "--shot", "3"]


def test_folds_are_drawn_run_and_reported(call: Call, shapes: Path) -> None:
    config = json.dumps({"kind": "folder", "path": str(shapes), "test_share": 0.4})
    words = ["fewshot", *FEW, "--folds", "3", "--data", "fewshot", "--set", f"data.base={config}"]
    result = call(*words, "--set", "data.queries=4", "--out", "few", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    accuracies = [fold["test_accuracy"] for fold in report["folds"]]
    assert len(accuracies) == 3 and report["selected_on"] == "last" and (report["way"], report["shot"]) == (2, 3)
    assert report["mean"] == pytest.approx(np.mean(accuracies))
    assert report["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert all(len(fold["classes"]) == 2 for fold in report["folds"])
    assert json.loads(Path("few/report.json").read_text()) == {k: v for k, v in report.items() if k != "folder"}
    # The adapters tell no folder of this machine, and score what they were trained on.
    assert str(shapes.parent) not in Path("few/fold-0/adapter/adapter_config.json").read_text()
    scores = json.loads(call("evaluate", "few/fold-1/adapter", "--json", "--device", "cpu").stdout)
    assert scores["accuracy"] == accuracies[1] and scores["clouds"] == 8


def test_any_clouds_become_folds_and_finished_ones_are_not_run_again(call: Call, shapes: Path) -> None:
    words = [*FEW, "--data", shapes, "--set", "data.test_share=0.4", "--out", "few"]
    refused = call("fewshot", *words)  # twenty test clouds a class are wanted, as published
    assert refused.exit_code == 2 and "data.queries" in refused.stderr and not Path("few").exists()
    base = Path("few.yaml")
    base.write_text(
        f"data: {{kind: fewshot, queries: 4, base: {{kind: folder, path: {shapes}, test_share: 0.4}}}}\nselect: last\n"
    )
    words = ["fewshot", "--config", base, *FEW, "--out", "two", "--folds", "2"]
    assert call(*words).exit_code == 0
    stamp = Path("two/fold-0/adapter/adapter_model.safetensors").stat().st_mtime_ns
    done = json.loads(Path("two/fold-1/result.json").read_text())
    Path("two/fold-1/result.json").unlink()
    more = call("fewshot", "--resume", "--out", "two", "--device", "cpu")
    assert more.exit_code == 0, more.stderr
    assert "fold-0" in more.stdout and "2-way 3-shot" in more.stdout
    assert "±" in more.stdout
    assert Path("two/fold-0/adapter/adapter_model.safetensors").stat().st_mtime_ns == stamp
    again = json.loads(Path("two/fold-1/result.json").read_text())
    assert again["result"]["test_accuracy"] == done["result"]["test_accuracy"]
    for again_words in (words, ["fewshot", "--resume", "--out", "two", "--epochs", "5"]):
        refused = call(*again_words)
        assert refused.exit_code == 2 and "two" in refused.stderr
    Path("two/report.json").rename("elsewhere.json")
    assert call("fewshot", "--resume", "--out", "two").exit_code == 2


def test_published_folds_report_the_papers_protocol_as_such(call: Call, tmp_path: Path) -> None:
    for fold in range(2):
        fewshot_fold(tmp_path / "Few" / "2way_3shot" / f"{fold}.pkl", [4, 7 + fold], shot=3, queries=5, points=70)
    words = ["fewshot", *FEW, "--data", "fewshot", "--set", f"data.path={tmp_path / 'Few'}", "--set", "select=test"]
    result = call(*words, "--folds", "2", "--out", "published")
    assert result.exit_code == 0, result.stderr
    assert "bookshelf, car" in result.stdout and "TEST" in result.stdout
    missing = call(*words, "--folds", "3", "--out", "published", "--resume")
    assert missing.exit_code == 2 and "2" in missing.stderr and "fold-1" in missing.stdout


def test_images_are_refused(call: Call) -> None:
    result = call("fewshot", "--backbone", "vit-b16", "--data", "images", "--set", "data.path=x")
    assert result.exit_code == 2 and "images" in result.stderr


@pytest.fixture
def voter(call: Call, tmp_path: Path) -> Path:
    """An adapter trained one epoch on a ModelNet40 of one cloud a class."""
    modelnet_dat(tmp_path / "net", points=100)
    words = ["train", *TINY, "--epochs", "1", "--data", "modelnet40", "--set", f"data.path={tmp_path / 'net'}"]
    result = call(*words, "--set", "data.validation=0", "--set", "select=last", "--out", "net")
    assert result.exit_code == 0, result.stderr
    return Path("net/adapter").absolute()


def test_votes_say_so_and_show_the_single_pass_beside(call: Call, voter: Path) -> None:
    def scored(*words: object) -> dict[str, object]:
        result = call("evaluate", voter, "--device", "cpu", "--json", *words)
        assert result.exit_code == 0, result.stderr
        assert "warning" not in result.stderr
        return json.loads(result.stdout)

    single, voted = scored(), scored("--vote", "4")
    assert "protocol" not in single and (voted["protocol"], voted["votes"], voted["seed"]) == ("voted", 4, 0)
    assert voted["single_pass"] == {key: single[key] for key in ("accuracy", "mean_class_accuracy", "loss")}
    assert voted["loss"] != single["loss"] and voted == scored("--vote", "4")
    assert scored("--vote", "4", "--seed", "1")["loss"] != voted["loss"]
    said = call("evaluate", voter, "--device", "cpu", "--vote", "10").stdout
    assert re.search(r"\b10\b.*\b0\b", said)
    assert scored("--split", "train")["clouds"] == 40  # judged at the model's 64 points, though kept at 75


def test_votes_are_refused_where_none_were_published(call: Call, voter: Path, tmp_path: Path) -> None:
    refused = call("evaluate", voter, "--vote", "10", "--split", "train")
    assert refused.exit_code == 2 and "train" in refused.stderr
    make_shapes(tmp_path / "shapes")
    result = call("evaluate", voter, "--vote", "10", "--data", tmp_path / "shapes")
    assert result.exit_code == 2 and "ModelNet40" in result.stderr
    config = voter / "adapter_config.json"
    config.write_text(config.read_text().replace('"points": 64', '"points": 2048'))
    result = call("evaluate", voter, "--vote", "10")
    assert result.exit_code == 2 and "2,048" in result.stderr


def test_the_data_sets_are_listed_and_recipes_run_on_them(call: Call, tmp_path: Path) -> None:
    rows = {row["kind"]: row for row in json.loads(call("datasets", "--json").stdout)}
    assert {"scanobjectnn", "modelnet40", "fewshot"} <= set(rows)
    variant = next(one for one in rows["scanobjectnn"]["settings"] if one["name"] == "variant")
    assert variant["schema"]["enum"] == ["objbg", "objonly", "hardest"]
    scanobjectnn_tree(tmp_path / "h5_files", points=70)
    modelnet_dat(tmp_path / "net")
    for name, kind in (("h5_files", "scanobjectnn"), ("net", "modelnet40")):
        run = make_run(RunOptions(data=str(tmp_path / name), settings=("data.validation=0", "select=last")))
        assert run.data.kind == kind and run.data.path == tmp_path / name
    words = [*TINY[4:], "--set", "backbone.groups=8", "--set", "backbone.weights=random", "--epochs", "1"]
    result = call(
        "train",
        "--backbone",
        "own",
        "--data",
        "scanobjectnn",
        "--set",
        f"data.path={tmp_path}",
        *words,
        "--out",
        "scan",
    )
    assert result.exit_code == 0, result.stderr
    assert "ScanObjectNN hardest was published with 11416" in result.stdout
