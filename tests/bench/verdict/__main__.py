"""`python -m tests.bench.verdict`."""

import argparse
import sys

from tests.bench.table import main
from tests.bench.verdict import TRIALS, __doc__, rows

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--trials", type=int, default=TRIALS)
parser.add_argument("--first", type=int, default=1)
parser.add_argument("--only", default="")
options, sys.argv[1:] = parser.parse_known_args()
main(lambda: rows(options.trials, options.first, options.only), __doc__)
