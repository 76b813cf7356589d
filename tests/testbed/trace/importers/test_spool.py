"""Sorting on disk against sorting in memory."""

import errno
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.trace.importers import spool as spools
from testbed.trace.importers.spool import Spool


def sorted_by(spool: Spool) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=spools.RECORD), *spool.sorted()])


@given(st.lists(st.lists(st.integers(-(10**15), 10**15), max_size=20), max_size=20), st.integers(1, 30))
@settings(deadline=None)
def test_all_records_come_back_in_order(batches: list[list[int]], run: int) -> None:
    with Spool(run_records=run) as spool:
        for number, batch in enumerate(batches):
            ticks = np.array(batch, dtype=np.int64)
            spool.add(ticks, np.full(len(batch), number), np.arange(len(batch)))
        found = sorted_by(spool)
        assert spool.total == len(found)
    expected = sorted(tick for batch in batches for tick in batch)
    assert found["ticks"].tolist() == expected
    added = sorted((tick, n, k) for n, batch in enumerate(batches) for k, tick in enumerate(batch))
    assert sorted(found.tolist()) == added  # each with its device and sample


def test_many_runs_are_merged_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "MERGED_RECORDS", 1 << 12)
    random = np.random.default_rng(1)
    ticks = random.integers(0, 10**6, 100_000)
    with Spool(run_records=1000) as spool:
        for part in np.split(ticks, 100):
            spool.add(part, part % 7, part % 11)
        blocks = list(spool.sorted())
    assert max(len(block) for block in blocks) < 30_000
    together = np.concatenate(blocks)
    assert (together["ticks"] == np.sort(ticks)).all()
    assert (together["device"] == together["ticks"] % 7).all()


def test_memory_does_not_grow_with_the_number_of_runs() -> None:
    """400 runs of 16 kB are 6.4 MB."""
    with Spool(run_records=1000) as spool:
        some = np.arange(1000)
        spool.add(some, some, some)
        tracemalloc.start()
        for _ in range(400):
            spool.add(some, some, some)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert held < 300_000
    assert peak < 600_000


def test_a_full_disk_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Spool(run_records=10) as spool, open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(spool, "_file", full)
        monkeypatch.setattr(spool, "_runs", [])
        with pytest.raises(InputError, match="cannot be sorted on disk"):
            spool.add(np.arange(20), np.arange(20), np.arange(20))


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=errno.errorcode[errno.ENOENT] and "cannot be sorted on disk"):
        Spool(tmp_path / "absent")
