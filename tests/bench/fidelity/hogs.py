"""Is an overloaded machine recognised? The same run beside more and more busy loops: verdict against what happened.

0 = held, 1 = strained, 2 = broken. Busy loops of normal priority take what is left of the processors: links and
messages go before them, computing does not, so that a light run may hold beside many. What counts is that a run that is
called held has the delays of the calm one. The last run also has one loop a processor that goes before everything.
Needs root; about a minute and a half.
"""

from collections.abc import Iterator

from testbed.fidelity.report import VERDICTS
from tests.bench.fidelity.chain import FAST_GFLOP_PER_S, summary_of
from tests.bench.table import POSITIVE, SHARE, Row, main, row

DURATION_S = 10.0
CALM = 0
HELD_WITHIN = 0.05  # of the calm run's mean delay


def rows() -> Iterator[Row]:
    """Each load in turn."""
    calm_s, disturbed = 0.0, None
    for count, realtime in ((CALM, False), (2, False), (8, False), (32, False), (8, True)):
        summary = summary_of(duration_s=DURATION_S, gflop_per_s=FAST_GFLOP_PER_S, hogs=count, realtime=realtime)
        fidelity, mean_s = summary["fidelity"], summary["delay_s"]["mean"]
        verdict = VERDICTS.index(fidelity["verdict"])
        if count == CALM:
            calm_s = mean_s
            disturbed = f"the calm run was {fidelity['verdict']} itself" if verdict else None
        load = f"{count} busy loops{' and real-time ones' if realtime else ''}"
        yield row(f"{load}: verdict", verdict, "", most=0 if count == CALM else None, least=1 if realtime else None)
        yield row(f"{load}: tasks touched", fidelity["tasks_touched_share"], "", possible=SHARE)
        yield row(f"{load}: mean delay", mean_s * 1e3, "ms", possible=POSITIVE)
        off, most = abs(mean_s / calm_s - 1), None if verdict else HELD_WITHIN
        yield row(f"{load}: mean delay off the calm run's", off, "", most=most, invalid=disturbed)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
