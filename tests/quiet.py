"""Tests that compare times: what others do on this machine must not make them fail.

A test marked `timing` runs at once. If it fails although the machine was quiet, it has failed. If others kept the
machine busy meanwhile, it waits up to two minutes for a quiet processor and runs again; where there is none, it is
skipped: "machine busy: pressure 87 %". Under CI=true more than ten such skips fail the session.

Decision 083: the load is checked after a failure, not before a test
(docs/decisions/083-load-is-checked-after-a-failure.md).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from testbed.host.ledger import OTHER_ROOT
from tests.machine import PERIOD_S, Sample, Watch, busy_share, describe

ATTEMPTS = 3
PATIENCE_S = float(os.environ.get("DTOEE_TEST_PATIENCE_S", "120"))
# After a wait that was in vain, as long as nothing has changed since.
SHORT_PATIENCE_S = min(PATIENCE_S, 5.0)
QUIET_SAMPLES = 2
MOSTLY_BUSY = 0.2  # of a test's time: a lone burst is a reason to repeat it, none to skip it
MOST_SKIPS = 10
REASON = "machine busy: "


class Quiet:
    """The plugin: repeats and skips tests, and lists the skips at the end."""

    def __init__(self) -> None:
        self._watch: Watch | None = None
        self._waited_in_vain_s: float | None = None
        self.skips: list[tuple[str, str]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a test marked `timing`; all others are left to pytest."""
        if item.get_closest_marker("timing") is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        if self._watch is None:
            # Beside the session's ledgers, which go even if it is killed.
            self._watch = Watch(Path(os.environ.get("DTOEE_TEST_PROC", "/proc")), os.environ.get(OTHER_ROOT))
        for attempt in range(ATTEMPTS):
            begun_s = time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            if not any(report.failed for report in reports):
                return reports
            with time_out_suspended(item):
                samples = self._watch.since(begun_s)
                if not any(sample.busy for sample in samples):
                    return reports
                quiet = self._await_quiet(self._watch)
            if attempt == ATTEMPTS - 1 or not quiet:
                break
            item._initrequest()  # type: ignore[attr-defined]  # as new: no fixture of the first attempt remains
        if not quiet or busy_share(samples) >= MOSTLY_BUSY:
            self._skip(reports, samples)
        return reports

    def _await_quiet(self, watch: Watch) -> bool:
        """True if the last samples were quiet, within the patience that is left."""
        begun_s = time.monotonic()
        patience_s = PATIENCE_S
        if self._waited_in_vain_s is not None:
            since = watch.since(self._waited_in_vain_s)
            if not quiet_now(since, at_all=True):
                patience_s = SHORT_PATIENCE_S
        while True:
            if quiet_now(watch.since(begun_s)):
                self._waited_in_vain_s = None
                return True
            if time.monotonic() > begun_s + patience_s:
                self._waited_in_vain_s = begun_s
                return False
            time.sleep(PERIOD_S / 4)

    def _skip(self, reports: list[pytest.TestReport], samples: list[Sample]) -> None:
        reason = REASON + describe(samples)
        for report in reports:
            if report.failed:
                path, line, _ = report.location
                report.outcome = "skipped"
                report.longrepr = (path, line or 0, f"Skipped: {reason}")
                report.sections.clear()
        self.skips.append((reports[0].nodeid, reason))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the watch; fail where a session that must test skipped too much."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._too_many():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _too_many(self) -> bool:
        return os.environ.get("CI") == "true" and len(self.skips) > MOST_SKIPS

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what was skipped because the machine was busy."""
        if not self.skips:
            return
        terminalreporter.section("machine busy")
        for test, reason in self.skips:
            terminalreporter.write_line(f"{test}: {reason}")
        terminalreporter.write_line(f"{len(self.skips)} tests skipped because the machine was busy")
        if self._too_many():
            terminalreporter.write_line(f"error: more than {MOST_SKIPS} of them: the session fails", red=True)


def quiet_now(samples: list[Sample], *, at_all: bool = False) -> bool:
    """True if the last samples were quiet, or with `at_all` as many in a row at any time."""
    row = 0
    for sample in samples:
        row = 0 if sample.busy else row + 1
        if at_all and row >= QUIET_SAMPLES:
            return True
    return row >= QUIET_SAMPLES


@contextmanager
def time_out_suspended(item: pytest.Item) -> Iterator[None]:
    """Stop the test's time-out, and start it anew at the end: waiting is no part of the test."""
    plugin = item.config.pluginmanager.getplugin("timeout")
    if plugin is None:
        yield
        return
    item.ihook.pytest_timeout_cancel_timer(item=item)
    yield
    settings = plugin._get_item_settings(item)
    if settings.timeout and settings.timeout > 0 and not settings.func_only:
        item.ihook.pytest_timeout_set_timer(item=item, settings=settings)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin of this session, and its marker."""
    config.addinivalue_line("markers", "timing: compares times: repeated, or skipped, if others keep the machine busy")
    config.pluginmanager.register(Quiet(), "quiet")
