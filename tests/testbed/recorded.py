"""Results of recorded runs, for tests."""

from pathlib import Path

from testbed.compare.recovery import Recovery, read_course, recoveries
from testbed.record.reading import read_recorded


def recoveries_of_run(path: Path) -> tuple[Recovery, ...]:
    """The recoveries of a recorded run, one per instant with events, in order."""
    return recoveries(read_course(path), read_recorded(path).scenario())
