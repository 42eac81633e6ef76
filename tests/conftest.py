"""Shared by all tests: one compute thread, so that results do not depend on the machine's cores, and two processes.

All that starts the page runs in one process, one test after another, all that starts workers in another, and each other
file in the one that is free. A run of some tests only (`python -m pytest tests/core/fast/test_fast.py`) stays in one
process; `-n 0` has all of them in one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.processes import restore_interrupts

_TOGETHER = {"tests/ui/page/": "page", "tests/worker/": "workers", "tests/chaos/": "workers"}


def pytest_configure() -> None:
    restore_interrupts()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _group(test: str) -> str:
    """What runs in the same process as this test: the name of its group, else its file."""
    return next((group for folder, group in _TOGETHER.items() if test.startswith(folder)), test.split("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for all tests, none besides this one for some of them."""
    return 2 if config.args == config.getini("testpaths") else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups come first: at the end they would leave the other process with nothing to do."""
    items.sort(key=lambda item: _group(item.nodeid) not in _TOGETHER.values())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False
    return Grouped(config, log)
