"""The outcome of a test that compares times, on a quiet machine and on a busy one.

The sessions are real; their /proc is a folder in which a thread of theirs counts on, as busy as the test wants it.
"""

import math
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.hogs import hogs
from tests.machine import Sample, Sampler, Watch, busy_share, describe
from tests.quiet import MOST_SKIPS, quiet_now

ROOT = Path(__file__).parents[1]
PERIOD_S = 0.2  # of the sessions: a fifth of the usual, so that these tests take seconds
MACHINE = """
import os, threading, time
from pathlib import Path
import pytest

PROC, BUSY = Path("proc"), Path("busy")
PERIOD_S = float(os.environ["DTOEE_TEST_PERIOD_S"])
TICKS_PER_S = os.sysconf("SC_CLK_TCK") * os.cpu_count()

def count_on():
    ticks = waited_us = 0.0
    last_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        if BUSY.exists():
            ticks += (now_s - last_s) * TICKS_PER_S * 0.9
            waited_us += (now_s - last_s) * 0.8e6
        last_s = now_s
        for name, text in (
            ("stat", f"cpu  {int(ticks)} 0 0 0 0 0 0 0 0 0\\n"),
            ("pressure/cpu", f"some avg10=0 avg60=0 avg300=0 total={int(waited_us)}\\n"),
            ("loadavg", "14.25 3.00 1.00 1/100 1\\n"),
        ):
            if (PROC / name).parent.exists():
                (PROC / "new").write_text(text)
                (PROC / "new").rename(PROC / name)
        time.sleep(PERIOD_S / 20)

threading.Thread(target=count_on, daemon=True).start()
time.sleep(PERIOD_S / 5)

def attempt():
    with Path("attempts").open("a") as file:
        file.write("x")
    time.sleep(2.5 * PERIOD_S)
    return len(Path("attempts").read_text())
"""


def session(folder: Path, code: str, *, patience_periods: float = 4, pressure: bool = True, **environment: str):
    """Run pytest with the plugin on these tests; `pressure`: the kernel reports it."""
    (folder / "proc" / ("pressure" if pressure else "")).mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (folder / "test_it.py").write_text(MACHINE + textwrap.dedent(code))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.quiet", "-q", "-ra", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DTOEE_TEST_PATIENCE_S": str(patience_periods * PERIOD_S), "CI": "",
             "DTOEE_TEST_PROC": "proc", "DTOEE_TEST_PERIOD_S": str(PERIOD_S), **environment},
    )  # fmt: skip


def attempts(folder: Path) -> int:
    return len((folder / "attempts").read_text())


@pytest.mark.parametrize(("pressure", "reason"), [(True, r"pressure [789]\d %"), (False, r"load 14\.2")])
def test_on_a_machine_that_stays_busy_it_is_skipped_with_the_reason(tmp_path, pressure, reason):
    code = """
        @pytest.mark.timing
        def test_it():
            BUSY.touch()
            attempt()
            assert False
    """
    done = session(tmp_path, code, pressure=pressure)
    assert done.returncode == 0, done.stdout
    assert re.search(rf"SKIPPED \[1\] test_it.py:\d+: machine busy: {reason}", done.stdout)
    assert "1 tests skipped because the machine was busy" in done.stdout
    assert attempts(tmp_path) == 1


def test_it_waits_for_a_quiet_processor_and_runs_again(tmp_path):
    code = """
        made = []

        @pytest.fixture
        def made_anew():
            made.append("fixture")

        @pytest.mark.timing
        @pytest.mark.timeout(1.6)  # less than two attempts and the wait
        def test_it(made_anew):
            BUSY.touch()
            if attempt() == 1:
                threading.Timer(3 * PERIOD_S, BUSY.unlink).start()
                assert False
            BUSY.unlink()
            assert made == ["fixture"] * 2
    """
    done = session(tmp_path, code, patience_periods=60)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert attempts(tmp_path) == 2


def test_what_fails_on_a_quiet_machine_fails_at_once(tmp_path):
    code = """
        @pytest.mark.timing
        def test_it():
            attempt()
            assert False, "wrong"
    """
    done = session(tmp_path, code)
    assert done.returncode == 1
    assert "AssertionError: wrong" in done.stdout
    assert attempts(tmp_path) == 1


def test_what_fails_again_once_it_is_quiet_fails(tmp_path):
    code = """
        @pytest.mark.timing
        def test_it():
            if attempt() == 1:
                BUSY.touch()
                time.sleep(2 * PERIOD_S)
                threading.Timer(PERIOD_S, BUSY.unlink).start()
            assert False, "wrong"
    """
    done = session(tmp_path, code, patience_periods=60)
    assert done.returncode == 1
    assert "AssertionError: wrong" in done.stdout
    assert attempts(tmp_path) == 2


@pytest.mark.slow
def test_short_bursts_in_every_attempt_excuse_nothing(tmp_path):
    code = """
        @pytest.mark.timing
        def test_it():
            attempt()
            BUSY.touch()
            time.sleep(0.3 * PERIOD_S)
            BUSY.unlink()
            time.sleep(6 * PERIOD_S)
            assert False, "wrong"
    """
    done = session(tmp_path, code, patience_periods=60)
    assert done.returncode == 1, done.stdout
    assert attempts(tmp_path) == 3


def test_a_failure_without_the_mark_is_one_however_busy(tmp_path):
    code = """
        def test_it():
            BUSY.touch()
            attempt()
            assert False, "wrong"
    """
    done = session(tmp_path, code)
    assert done.returncode == 1
    assert attempts(tmp_path) == 1


def test_what_passes_on_a_busy_machine_has_passed(tmp_path):
    code = """
        @pytest.mark.timing
        def test_it():
            BUSY.touch()
            attempt()
    """
    done = session(tmp_path, code)
    assert (done.returncode, attempts(tmp_path)) == (0, 1)
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("count", "ci", "code"),
    [
        pytest.param(MOST_SKIPS, "true", 0, marks=pytest.mark.slow),
        (MOST_SKIPS + 1, "true", 1),
        pytest.param(MOST_SKIPS + 1, "", 0, marks=pytest.mark.slow),
    ],
)
def test_more_than_ten_skips_fail_where_all_must_be_tested(tmp_path, count, ci, code):
    many = f"""
        BUSY.touch()
        time.sleep(1.2 * PERIOD_S)

        @pytest.mark.timing
        @pytest.mark.parametrize("number", range({count}))
        def test_it(number):
            assert False
    """
    done = session(tmp_path, many, patience_periods=0.5, CI=ci)
    assert done.returncode == code, done.stdout
    assert f"{count} tests skipped because the machine was busy" in done.stdout
    assert done.stdout.count("test_it.py::test_it[") >= count
    assert ("error: more than 10 of them" in done.stdout) == (code == 1)


def sample(*, others: float = 0.0, stolen: float = 0.0, pressure: float = 0.5) -> Sample:
    return Sample(1.0, 1.0, others, stolen, pressure, 14.2)


@pytest.mark.parametrize(
    ("given", "busy"),
    [
        (sample(), False),  # all the pressure comes from the tests themselves
        (sample(others=0.05), False),
        (sample(others=0.3), True),
        (sample(others=0.3, pressure=0.0), False),  # they have processors of their own
        (sample(others=0.3, pressure=math.nan), True),
        (sample(stolen=0.1, pressure=0.0), True),
    ],
)
def test_what_counts_as_busy(given, busy):
    assert given.busy == busy


def test_a_row_of_samples_is_quiet_at_its_end():
    calm, busy = sample(), sample(others=0.9)
    assert quiet_now([busy, calm, calm])
    assert not quiet_now([calm, calm, busy])
    assert not quiet_now([calm])
    assert quiet_now([calm, calm, busy], at_all=True)
    assert not quiet_now([])
    assert busy_share([busy, calm, calm, calm]) == 0.25
    assert describe([sample(pressure=0.5), sample(pressure=1.0)]) == "pressure 75 %"


BURN = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"


def test_the_tests_own_load_is_not_that_of_others():
    """That of children is theirs as well, while they run and when they have ended."""
    sampler = Sampler(os.getpid(), Path("/proc"))
    begun = own_ticks(sampler)
    subprocess.run([sys.executable, "-c", BURN], check=True)
    subprocess.run(["sh", "-c", f"{sys.executable} -c '{BURN}'; true"], check=True)
    spent_s = (own_ticks(sampler) - begun) / os.sysconf("SC_CLK_TCK")
    assert 0.95 <= spent_s < 2.5


def own_ticks(sampler: Sampler) -> int:
    return sampler._own_ticks()


def test_a_stranger_counts_as_others():
    """A sampler whose tests are a sleeping process sees this process, and its children, as strangers."""
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        sampler = Sampler(sleeper.pid, Path("/proc"))
        with hogs(1):
            time.sleep(2)
            found = sampler.sample()
    finally:
        sleeper.kill()
        sleeper.wait()
    # On an idle machine a whole processor, on a busy one what others took as well.
    assert found.others_share > 0.5 / os.cpu_count()


def test_a_watch_answers_for_the_time_asked_and_leaves_nothing():
    watch = Watch()
    try:
        begun_s = time.monotonic()
        time.sleep(1.5)
        samples = watch.since(begun_s)
        assert len(samples) >= 1
        assert all(each.end_s > begun_s for each in samples)
        assert watch._path.exists()
    finally:
        watch.close()
    assert not watch._path.exists()
