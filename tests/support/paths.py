"""Folders that tests read from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
CHAOS = ROOT / "tests" / "chaos"
SHARED = ROOT.parent / "shared" / "data"
"""Public data sets that lie beside some checkouts; tests that read them are skipped elsewhere."""
COUNTING_TRAINER = ROOT / "tests" / "support" / "counting_trainer.py"
"""A trainer program whose training is counting."""
