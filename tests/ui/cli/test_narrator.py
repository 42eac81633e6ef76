"""What a run looks like on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from pointsmith.core.events import Epoch, Finished, Note, Plan, Stage, Step
from pointsmith.ui.cli.narrator import Narrator
from pointsmith.ui.cli.output import duration, size, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


PLAN = Plan(
    trainable=10,
    total=1000,
    adapter_bytes=2048,
    classes=("a", "b"),
    train_clouds=8,
    validation_clouds=2,
    test_clouds=2,
    epochs=2,
    steps_per_epoch=4,
    device="cpu",
    precision="float32",
)
FINISHED = Finished(
    best_epoch=1,
    epochs=2,
    validation_accuracy=0.5,
    test_accuracy=0.75,
    selected_on="test",
    adapter="adapter",
    adapter_bytes=2048,
    trainable=10,
    seconds=61.0,
)


def step(number: int, eta: float) -> Step:
    epoch = (number - 1) // 4 + 1
    return Step(step=number, epoch=epoch, loss=1.0, lr=0.1, grad_norm=1.0, clouds_per_second=5.0, eta_seconds=eta)


def tell(stream: io.StringIO) -> str:
    narrator = Narrator(stream)
    epoch = Epoch(
        epoch=1, step=4, train_loss=1.0, train_accuracy=0.25, validation_accuracy=0.5, lr=0.1, best=True, seconds=2
    )
    said = [
        PLAN,
        Stage(stage="train"),
        step(1, 75),
        step(2, 50),
        step(4, 25),
        epoch,
        Note(message="hm", level="warning"),
    ]
    for event in [*said, step(5, 10), Stage(stage="test", message="Scoring"), FINISHED]:
        narrator.tell(event)
    narrator.close()
    return stream.getvalue()


def test_a_file_gets_plain_lines() -> None:
    text = tell(io.StringIO())
    assert "\r" not in text and "\x1b" not in text
    assert text.splitlines() == [
        "2 classes; clouds: 8 to train, 2 to validate, 2 to test",
        "10 of 1,000 parameters train (1.00 %); the adapter will take 2.0 kB",
        "train",
        "epoch 1/2  loss 1.0000  train 25.0 %  validation 50.0 % *  2.0 s  ETA 0:25",
        "warning: hm",
        "test: Scoring",
        "Test accuracy 75.0 %; kept epoch 1 of 2 (best on the TEST clouds, so the test accuracy is optimistic); "
        "1:01 of training.",
    ]


@pytest.mark.parametrize("columns", [100, 40])
def test_a_terminal_gets_one_moving_bar(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = tell(Terminal())
    bars = [part for part in text.split("\r\x1b[2K") if part.startswith("epoch ") and "clouds/s" in part]
    assert len(bars) >= 4
    assert all(len(bar.splitlines()[-1]) < columns for bar in bars)
    if columns == 100:
        assert "ETA 1:15" in bars[0]
        assert bars[0].count("=") * 4 == pytest.approx(bars[2].count("="), abs=4)
    # What stays on the screen once every clearing took effect: the same lines as in a file.
    screen = [line.rpartition("\r\x1b[2K")[2] for line in text.split("\n")]
    assert [line for line in screen if line] == tell(io.StringIO()).splitlines()


def test_words_for_numbers() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 3600, -1)] == ["0:00", "1:00", "1:00:00", "0:00"]
    assert [size(count) for count in (12, 1500, 5e6, 2e9)] == ["12 B", "1.5 kB", "5.0 MB", "2.0 GB"]
    assert table(("a", "n"), [("x", "1"), ("yy", "22")]) == "a    n\n--  --\nx    1\nyy  22"
