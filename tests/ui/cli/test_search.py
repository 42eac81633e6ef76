"""Search a NOAH plan from the command line, resume, and train what was found, on tiny but real runs."""

from __future__ import annotations

import io
import json
from pathlib import Path

from pointsmith.core.events import FoundPlan, Generation
from pointsmith.ui.cli.narrator import Narrator

from tests.support.cli import SIZES, Call, interrupted

TINY = [
    "--backbone",
    "own",
    *(word for key, value in SIZES.items() for word in ("--set", f"backbone.{key}={value}")),
    *("--set", "method.sizes=[1,2,4]", "--set", "head.hidden=16", "--set", "data.preparation.points=64"),
    *("--batch-size", "8", "--epochs", "1"),
]
SMALL = [*("--generations", "2", "--population", "5", "--parents", "2", "--supernet-epochs", "2")]


def test_search_then_train(call: Call, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "searched"
    words = [*TINY, *SMALL, "--data", shapes, "--device", "cpu", "--max-parameters", "700"]
    result = call("search", *words, "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kind"] == "searched" and found["path"] == str(out / "found.yaml") and found["tried"] == 10
    assert len(found["plans"]) == 2 and found["plans"][0]["parameters"] <= 700
    assert "population 2/2  10 plans judged  best " in result.stderr
    trained = call("train", "--config", out / "found.yaml", "--device", "cpu", "--out", tmp_path / "run", "--json")
    assert trained.exit_code == 0, trained.stderr
    assert json.loads(trained.stdout)["kind"] == "finished"
    adapter = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert adapter["run"]["method"]["plan"] == found["plans"][0]["plan"]
    text = call("search", *words, "--out", tmp_path / "again").output
    assert " ".join(found["plans"][0]["plan"]) in text and f"--config {tmp_path / 'again' / 'found.yaml'}" in text


def test_interrupt_and_resume(call: Call, shapes: Path, tmp_path: Path) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    # More plans than are usually judged before the signal arrives.
    words = [*TINY, *SMALL, "--data", shapes, "--population", "150", "--max-parameters", "3000"]
    _, stderr = interrupted(["search", *words, "--device", "cpu"], parts, "search.json")
    assert f"pointsmith search --out {parts} --resume" in stderr
    assert not (parts / "found.yaml").exists()
    resumed = call("search", "--out", parts, "--resume", "--device", "cpu", "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert "plans have been judged before" in resumed.stderr
    assert call("search", *words, "--out", whole, "--device", "cpu").exit_code == 0
    for name in ("found.yaml", "search.json"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_refusals(call: Call, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "searched"
    data = ["--data", shapes, "--out", out]
    for words, said in (
        ([*data, "--method", "dapt"], "Only plans of the method noah"),
        ([*TINY, *data, "--max-parameters", "5"], "No plan has so few parameters"),
        ([*TINY, *data, "--generations", "0"], "generations"),
        ([*TINY, *data, "--set", "data.validation=0", "--set", "select=last"], "Plans are judged on the validation"),
        (["--resume", "--out", out], "nothing to resume"),
    ):
        result = call("search", *words)
        assert result.exit_code == 2 and said in result.stderr, result.stderr
        assert result.stderr.count("\n") == 1 and not out.exists()
    out.mkdir()
    (out / "run.yaml").write_text("run: {method: {kind: noah}}\n")
    result = call("search", "--resume", "--out", out, "--epochs", "3")
    assert result.exit_code == 2 and "--epochs" in result.stderr


def test_a_terminal_shows_each_plan_and_a_file_each_population() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    best = FoundPlan(plan=("1/1/1",), parameters=1234, accuracy=0.5, loss=1.0, generation=0)
    for stream, expected in ((Terminal(), 2), (io.StringIO(), 0)):
        narrator = Narrator(stream)
        for done in (1, 2, 3):
            narrator.tell(Generation(generation=1, generations=4, done=done, planned=3, tried=done, best=best))
        assert stream.getvalue().count("population 1/4  plan ") == expected
        assert stream.getvalue().endswith("population 1/4  3 plans judged  best 50.0 % with 1,234 parameters\n")
