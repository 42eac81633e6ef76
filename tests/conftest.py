"""Shared by all tests: one compute thread, so that results do not depend on the machine's cores, and two processes.

What needs browsers, servers and workers runs in one process, one test after another, and all else in the other. A run
of some tests only (`python -m pytest tests/core/test_fast.py`) stays in one process; `-n 0` has all of them in one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
_SERVED = tuple(HERE / one for one in ("ui/page", "worker", "chaos"))

sys.path.insert(0, str(HERE / "core"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for all tests, none besides this one for some of them."""
    return 2 if config.args == config.getini("testpaths") else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        served = any(item.path.is_relative_to(folder) for folder in _SERVED)
        item.add_marker(pytest.mark.xdist_group("served" if served else "computed"))
