"""A table of a million samples and five exits: the time to read it, and the memory of processes that share it.

`python -m tests.bench tables`. Each reading starts with a file in the page cache, in a process of its own. The eight
children are forked as agents are: from a process that has read the table. Each sends 1,000 tasks through all stages.
PSS is what a process has to itself, and its share of what several have together.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from tests.bench.table import POSITIVE, Row, main, row

SAMPLES, EXITS, CLASSES = 1_000_000, 5, 1000
CSV_SAMPLES, FEW = 100_000, 100
CHILDREN, TASKS = 8, 1000
REPEATS = 5
MOST_READING_S, MOST_MIB = 2.0, 20.0
WHERE = f"table of {SAMPLES:,} samples and {EXITS} exits"
READ = """
import json, sys, time
from pathlib import Path
from node_agent.models.answer_table import TableModel

def status_mib(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

before_mib, began_s = status_mib("VmRSS"), time.perf_counter()
model = TableModel(Path(sys.argv[1]))
model.check()
print(json.dumps([time.perf_counter() - began_s, status_mib("VmRSS") - before_mib, status_mib("VmHWM") - before_mib]))
"""
SHARE = """
import gc, json, os, sys, time
from pathlib import Path
from node_agent.models.answer_table import TableModel

path, children, tasks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
model = TableModel(path)
cut = model.exits
inputs, sub_models = model.inputs(cut, "float16"), model.sub_models(cut, "float16")
samples = model.sample_count
gc.collect()
gc.freeze()

def rollup_mib(process, *names):
    found = dict(line.split(":") for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(found[name].split()[0]) for name in names) / 1024

def serve(child):
    before_mib = rollup_mib("self", "Private_Clean", "Private_Dirty")
    began_s = time.perf_counter()
    for task in range(tasks):
        tensor = inputs.tensor((task * children + child) * 7919 % samples)
        for sub_model in sub_models:
            sub_model.flop(tensor)
            tensor = sub_model.infer(tensor).activation
    took_s = time.perf_counter() - began_s
    return [rollup_mib("self", "Private_Clean", "Private_Dirty") - before_mib, took_s / tasks / len(sub_models)]

found, pids, end, ended = [], [], *os.pipe()
for child in range(children):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ended)
        os.write(writer, json.dumps(serve(child)).encode())
        os.read(end, 1)  # all children live until the last one has been weighed
        os._exit(0)
    pids.append(pid)
    found.append(reader)
answers = [json.loads(os.read(reader, 4096)) for reader in found]
print(json.dumps([[*answer, rollup_mib(pid, "Pss")] for answer, pid in zip(answers, pids)]))
os.close(ended)
"""


def write_table(path: Path, samples: int = SAMPLES) -> None:
    """Write a table of random answers, whose pictures are those of ImageNet and whose activations vary in length."""
    chance = np.random.default_rng(1)
    np.savez(
        path,
        confidence=chance.random((samples, EXITS), dtype=np.float32),
        prediction=chance.integers(0, CLASSES, (samples, EXITS)),
        label=chance.integers(0, CLASSES, samples),
        flop=chance.integers(10**9, 2 * 10**9, (samples, EXITS)),
        input=np.array(["uint8 1x3x224x224", *["float16 ?x768"] * (EXITS - 1)]),
        length=chance.integers(1, 200, samples),
    )


def write_csv(path: Path, samples: int = CSV_SAMPLES) -> None:
    """Write a table of random answers and constant costs in CSV."""
    chance = np.random.default_rng(1)
    numbers = range(1, EXITS + 1)
    names = [f"{name}_{number}" for name in ("confidence", "prediction", "flop", "input_bytes") for number in numbers]
    confidence, prediction = chance.random((samples, EXITS)), chance.integers(0, CLASSES, (samples, EXITS))
    constants = "," + ",".join(["1e9"] * EXITS + ["150528"] * EXITS)
    with path.open("w", encoding="utf-8") as file:
        print("label", *names, sep=",", file=file)
        for label, *values in zip(chance.integers(0, CLASSES, samples), confidence, prediction, strict=True):
            texts = [f"{value:.6f}" for value in values[0]] + [str(value) for value in values[1]]
            print(label, *texts, sep=",", end=f"{constants}\n", file=file)


def reading(path: Path) -> tuple[float, float, float]:
    """Time to read and check a table [s]; growth of the process by then, and at most meanwhile [MiB]; medians."""
    found = [json.loads(_output([sys.executable, "-c", READ, str(path)])) for _ in range(REPEATS)]
    took_s, kept_mib, peak_mib = (median(values) for values in zip(*found, strict=True))
    return took_s, kept_mib, peak_mib


def sharing(path: Path, children: int = CHILDREN, tasks: int = TASKS) -> list[tuple[float, float, float]]:
    """Growth of each child's private memory [MiB], its time for a task at a stage [s], and its PSS at the end [MiB]."""
    found = json.loads(_output([sys.executable, "-c", SHARE, str(path), str(children), str(tasks)]))
    return [(grown_mib, took_s, pss_mib) for grown_mib, took_s, pss_mib in found]


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def rows() -> Iterator[Row]:
    """Reading of npz and CSV, and eight children on the npz, against eight on a small one."""
    with tempfile.TemporaryDirectory() as folder:
        path, small, text = (Path(folder, name) for name in ("large.npz", "small.npz", "large.csv"))
        write_table(path)
        write_table(small, FEW)
        write_csv(text)
        took_s, kept_mib, peak_mib = reading(path)
        yield row(f"{WHERE}: size of the npz", path.stat().st_size / 2**20, "MiB", possible=POSITIVE)
        yield row(f"{WHERE}: read and checked", took_s, "s", most=MOST_READING_S, possible=POSITIVE)
        yield row(f"{WHERE}: memory that it takes", kept_mib, "MiB", possible=POSITIVE)
        yield row(f"{WHERE}: memory that reading takes at most", peak_mib, "MiB", possible=POSITIVE)
        csv_s, *_ = reading(text)
        yield row(f"CSV of {CSV_SAMPLES:,} samples and {EXITS} exits: read and checked", csv_s, "s", possible=POSITIVE)
        children, others = sharing(path), sharing(small)
    what = f"{WHERE}: each of {CHILDREN} forked processes"
    grown_mib = max(child[0] for child in children)
    yield row(f"{what}: growth of its private memory by {TASKS:,} tasks", grown_mib, "MiB", most=MOST_MIB)
    more_mib = max(child[2] for child in children) - min(other[2] for other in others)
    yield row(f"{what}: PSS", more_mib, "MiB", most=MOST_MIB, rival=f"the same with a table of {FEW} samples: 0")
    yield row(f"{what}: a task at a stage", median(child[1] for child in children) * 1e6, "us", possible=POSITIVE)


if __name__ == "__main__":
    main(rows, __doc__, timed=True)
