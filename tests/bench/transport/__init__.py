"""TCP over links that lose and jitter frames, live and simulated (as root, half an hour).

`messages` times single messages over links of many kinds; `runs` compares whole runs. Figures carry 95 % intervals.
`python -m tests.bench.transport.messages FILE` keeps the live figures of `messages`, for a test of the model.
"""

from collections.abc import Iterator

from tests.bench.table import Row
from tests.bench.transport import messages, runs


def rows() -> Iterator[Row]:
    """All rows."""
    yield from messages.rows()
    yield from runs.rows()
