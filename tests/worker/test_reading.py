"""A run on an uploaded zip, through the queue: read apart without secrets, cancelled while it is being read."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from pointsmith.worker.service import Service

from tests.support.paths import CHAOS
from tests.support.waiting import FAST, until

TINY = yaml.safe_load((CHAOS / "tiny.yaml").read_text())


def _reader() -> psutil.Process | None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "pointsmith.core.data.apart:answer" in process.cmdline():
                return process
    return None


def test_an_upload_is_read_apart_and_can_be_cancelled_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "z" * 30)
    upload = data / "uploads" / ("a" * 32)
    upload.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(upload / "scans.zip", "w") as archive:
        for name in ("a", "b"):
            for i in range(8):
                text = "\n".join(" ".join(f"{value:.4f}" for value in row) for row in rng.normal(size=(20_000, 3)))
                archive.writestr(f"{name}/{i}.xyz", text)
    settings = {"kind": "folder", "path": str(upload / "scans.zip"), "preparation": {"points": 64}}
    with Service(data, 1, timing=FAST) as service:
        run = service.store.create({**TINY, "data": settings, "epochs": 1})
        until(lambda: _reader() is not None, "the reader")
        reader = _reader()
        assert reader is not None
        seen = reader.environ()
        assert "HF_TOKEN" not in seen and not [key for key in seen if "REDIS" in key]
        assert str(run.folder) in seen["TMPDIR"]
        reader.suspend()  # however long it takes
        service.store.cancel(run.id)
        until(lambda: service.store.get(run.id).state == "cancelled", "the end")
        psutil.wait_procs([reader], timeout=5)
        assert not reader.is_running() and not (run.folder / ".scratch").exists()
        done = service.store.create({**TINY, "data": settings, "epochs": 1})
        until(lambda: service.store.get(done.id).state in ("succeeded", "failed"), "the other run")
        ended = service.store.get(done.id)
        assert ended.state == "succeeded", ended.error
        assert not (done.folder / ".scratch").exists() and os.environ["HF_TOKEN"] not in json.dumps(ended.result)
