"""Language models at a saturated, unpaced server, against a bare PyTorch loop (see `tests.bench.saturated`)."""

from collections.abc import Iterator

from tests.bench.saturated import Subject, compared
from tests.bench.table import Row, main

GOAL = 0.95
SUBJECTS = (
    *(Subject("glosses", (1, 2, 4), stage) for stage in (1, 2, 3)),
    *(Subject("smollm", (10, 20, 30), stage, waiting=4, samples=12, round_s=6.0) for stage in (1, 2, 3)),
)


def rows() -> Iterator[Row]:
    """Every stage of both models."""
    for subject in SUBJECTS:
        yield from compared(subject, f"{subject.model}: unpaced server of stage {subject.stage}, saturated", GOAL)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
