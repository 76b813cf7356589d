"""Accuracy of the models' exits, and what one threshold for all exits gives: `python -m tests.bench models`.

From the exit tables that come with the models, as `dtoee-testbed model profile` shows them; the same on every machine.
"""

from collections.abc import Iterator

from node_agent.models.bundles.loading import load_bundle
from tests.bench.table import PERCENT, SHARE, Row, main, row

CUTS = {"glyphs": (2, 3, 5), "glyphs-deep": (2, 3, 4, 5, 7), "glosses": (1, 2, 4)}  # those of the topologies
TOKENS = {"smollm": (10, 20, 30)}  # models whose right answer is the whole model's token
THRESHOLDS = (0.5, 0.8, 0.95)


def rows() -> Iterator[Row]:
    """Each of the models."""
    for name, cut in {**CUTS, **TOKENS}.items():
        bundle = load_bundle(name)
        for block, accuracy in zip(bundle.exits, bundle.exit_table(bundle.exits).correct.mean(axis=0), strict=True):
            yield row(f"{name}: exit after block {block}: accuracy", float(accuracy), "", possible=SHARE)
        table = bundle.exit_table(cut)
        for threshold in THRESHOLDS:
            shares, accuracy = table.outcome([threshold] * (len(cut) - 1))
            where = f"{name}: threshold {threshold}"
            for stage, share in enumerate(shares, start=1):
                yield row(f"{where}: leave at stage {stage}", float(share) * 100, "%", possible=PERCENT)
            yield row(f"{where}: accuracy", accuracy, "", possible=SHARE)


if __name__ == "__main__":
    main(rows, __doc__)
