"""The policies in fewer scenarios, or on fewer seeds: `python -m tests.bench.dynamic [-n SEEDS] [--only SCENARIO]`.

The other parts, and the whole of this one: `python -m tests.bench dynamic`, or `dynamic.PART`.
"""

import argparse
import sys
from pathlib import Path

from tests.bench.dynamic import policies
from tests.bench.dynamic.scenarios import SCENARIOS
from tests.bench.table import collect, exit_status, kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--seeds", type=int, default=policies.SEEDS, help="paired seeds [default: %(default)s]")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=SCENARIOS,
        metavar="SCENARIO",
        help=f"one of: {'; '.join(SCENARIOS)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"{options.seeds} seeds are none")
    with kept(options.json) as found:
        collect(policies.rows(options.seeds, options.only), found)
    return exit_status(found)


if __name__ == "__main__":
    sys.exit(main())
