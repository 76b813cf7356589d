"""Does `time_scale` stretch everything alike? The same small run at scale 1 and at 3, in emulated seconds.

The remainder is the real time that this machine takes to pass a message (relay, kernel, ZeroMQ and two processes to
wake). It is not stretched, so that it weighs a third at scale 3. Needs root; about a minute and a half.
"""

from collections.abc import Iterator

from testbed.fidelity.report import VERDICTS
from tests.bench.fidelity.chain import SLOW_GFLOP_PER_S, summary_of
from tests.bench.table import Row, main, row

DURATION_S = 15.0
SCALES = (1.0, 3.0)
GOAL = 0.05


def rows() -> Iterator[Row]:
    """Mean and percentiles of one against the other."""
    one, three = (summary_of(duration_s=DURATION_S, gflop_per_s=SLOW_GFLOP_PER_S, time_scale=scale) for scale in SCALES)
    for scale, summary in zip(SCALES, (one, three), strict=True):
        yield row(f"time_scale {scale:g}: verdict", VERDICTS.index(summary["fidelity"]["verdict"]), "")
        yield row(f"time_scale {scale:g}: lost", summary["tasks"]["lost"], "tasks", most=0)
    broken = [scale for scale, summary in zip(SCALES, (one, three), strict=True)
              if summary["fidelity"]["verdict"] == "broken"]  # fmt: skip
    invalid = f"the emulation was broken at time_scale {broken[0]:g}" if broken else None
    for name in ("mean", "p50", "p95"):
        values_s = [summary["delay_s"][name] for summary in (one, three)]
        told = f"{values_s[0] * 1e3:.1f} ms at 1, {values_s[1] * 1e3:.1f} ms at 3"
        yield row(f"time_scale: {name} delay at 3 off that at 1", abs(values_s[1] / values_s[0] - 1), "", most=GOAL,
                  rival=told, invalid=invalid)  # fmt: skip


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
