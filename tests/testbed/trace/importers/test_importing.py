"""Imported workloads: windows, thinning, devices, samples, order, and constant memory."""

import gzip
import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from node_agent.errors import InputError
from testbed.scenario import Device
from testbed.trace.importers.assignment import Lengths
from testbed.trace.importers.contract import Columns
from testbed.trace.importers.importing import Imported, Target, Treatment, import_trace
from testbed.trace.importers.requests import Sieve, Source
from testbed.trace.importers.time_stamps import Window
from testbed.trace.workload import Arrival, read_trace

DEVICES = (Device("cam-1", 1.0), Device("cam-2", 2.0), Device("tv", 5.0))
TARGET = Target(DEVICES, 100)


def imported(
    folder: Path, text: str, *, columns: Columns | None = None, target: Target = TARGET, sieve: Sieve | None = None,
    treatment: Treatment | None = None, name: str = "out.jsonl",
) -> tuple[list[Arrival], Imported]:  # fmt: skip
    (folder / "in").write_text(text)
    source = Source((folder / "in",), None, columns or Columns())
    done = import_trace(source, target, folder / name, sieve or Sieve(), treatment or Treatment())
    arrivals = read_trace(folder / name)
    assert len(arrivals) == done.tally.kept
    assert arrivals[-1].time_s == done.span_s
    return arrivals, done


def stamps(count: int, *, per_s: float = 10.0, seed: int = 1) -> str:
    chance = random.Random(seed)
    at_s, lines = 1000.0, ["time,user"]
    for _ in range(count):
        at_s += chance.expovariate(per_s)
        lines.append(f"{at_s:.6f},u{chance.randrange(200)}")
    return "\n".join(lines) + "\n"


def test_times_count_from_the_first_request(tmp_path: Path) -> None:
    arrivals, done = imported(tmp_path, "time\n12.5\n10.25\n10.25\n11\n")
    assert [arrival.time_s for arrival in arrivals] == [0, 0, 0.75, 2.25]
    assert done.together == 1


def test_times_count_from_the_start_of_a_window(tmp_path: Path) -> None:
    text = "time\n" + "".join(f"{second}\n" for second in range(100))
    window = Window(20_000_000, 30_000_000, "seconds")
    arrivals, done = imported(tmp_path, text, sieve=Sieve(window))
    assert [arrival.time_s for arrival in arrivals] == [float(second) for second in range(10)]
    assert (done.tally.read, done.tally.within) == (100, 10)
    later = Window(19_500_000, None, "seconds")
    arrivals, _ = imported(tmp_path, text, sieve=Sieve(later))
    assert (arrivals[0].time_s, len(arrivals)) == (0.5, 80)


def test_thinning_keeps_a_random_share_and_the_times(tmp_path: Path) -> None:
    text = stamps(20_000)
    whole, _ = imported(tmp_path, text)
    thin, done = imported(tmp_path, text, sieve=Sieve(keep=0.25))
    assert len(thin) == pytest.approx(5000, abs=4 * math.sqrt(20_000 * 0.25 * 0.75))
    assert {arrival.time_s for arrival in thin} < {arrival.time_s for arrival in whole}
    assert done.tally.within == 20_000
    gaps = np.diff([arrival.time_s for arrival in thin])
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.06)  # thinning a Poisson process leaves one
    again, _ = imported(tmp_path, text, sieve=Sieve(keep=0.25))
    other, _ = imported(tmp_path, text, sieve=Sieve(keep=0.25), treatment=Treatment(seed=2))
    assert again == thin != other


def test_time_may_pass_faster(tmp_path: Path) -> None:
    arrivals, _ = imported(tmp_path, "time\n0\n30\n60\n", treatment=Treatment(speed=60))
    assert [arrival.time_s for arrival in arrivals] == [0, 0.5, 1]


def test_devices_are_drawn_in_proportion_to_their_rates(tmp_path: Path) -> None:
    arrivals, done = imported(tmp_path, stamps(16_000))
    counts = Counter(arrival.device for arrival in arrivals)
    for device in DEVICES:
        share = device.rate_per_s / 8
        expected = pytest.approx(16_000 * share, abs=4 * math.sqrt(16_000 * share * (1 - share)))
        assert counts[device.name] == expected
    assert (done.devices, done.used) == ("spread", 3)


def test_a_hash_gives_all_requests_of_a_user_one_device(tmp_path: Path) -> None:
    text = "time,user\n" + "".join(f"{n},user {n % 4000}\n" for n in range(8000))
    columns, treatment = Columns(device="user"), Treatment(devices="hash")
    arrivals, done = imported(tmp_path, text, columns=columns, treatment=treatment)
    assert done.devices == "hash"
    first, second = ([arrival.device for arrival in arrivals[start : start + 4000]] for start in (0, 4000))
    assert first == second
    counts = Counter(first)
    for device in DEVICES:
        share = device.rate_per_s / 8
        assert counts[device.name] == pytest.approx(4000 * share, abs=4 * math.sqrt(4000 * share * (1 - share)))
    thin, _ = imported(tmp_path, text, columns=columns, sieve=Sieve(keep=0.5), treatment=treatment)
    assert all(first[round(arrival.time_s) % 4000] == arrival.device for arrival in thin)
    other, _ = imported(tmp_path, text, columns=columns, treatment=Treatment(devices="hash", seed=9))
    assert [arrival.device for arrival in other[:4000]] != first


def test_a_column_may_name_devices(tmp_path: Path) -> None:
    text, columns = "time,who\n2,tv\n1,cam-2\n", Columns(device="who")
    arrivals, done = imported(tmp_path, text, columns=columns)
    assert [arrival.device for arrival in arrivals] == ["cam-2", "tv"]
    assert done.devices == "names"
    with pytest.raises(InputError, match="in:3: the topology has no device 'cam-3'") as caught:
        imported(tmp_path, "time,who\n2,tv\n1,cam-3\n", columns=columns)
    assert caught.value.hint in {"did you mean cam-1?", "did you mean cam-2?"}


def test_samples_are_dealt_equally_often(tmp_path: Path) -> None:
    arrivals, done = imported(tmp_path, stamps(1050))
    uses = Counter(arrival.sample for arrival in arrivals)
    assert set(uses) == set(range(100))
    assert max(uses.values()) - min(uses.values()) == 1
    assert sorted(arrival.sample for arrival in arrivals[:100]) == list(range(100))
    assert done.samples == "deal"


def test_samples_by_the_nearest_length(tmp_path: Path) -> None:
    lengths = np.array([10, 20, 20, 20, 40])
    text = "TIMESTAMP,ContextTokens\n" + "".join(
        f"2023-11-16 10:{n // 60:02}:{n % 60:02},{(3, 14, 16, 29, 31, 900)[n % 6]}\n" for n in range(3000)
    )
    arrivals, done = imported(tmp_path, text, target=Target(DEVICES, 5, lengths))
    assert done.samples == "length"
    assert done.longer == 500
    found = [{lengths[arrival.sample] for arrival in arrivals[place::6]} for place in range(6)]
    assert found == [{10}, {10}, {20}, {20}, {40}, {40}]
    uses = Counter(arrival.sample for arrival in arrivals if lengths[arrival.sample] == 20)
    assert min(uses.values()) > 250  # of 333 for each of three
    dealt, done = imported(tmp_path, text, target=Target(DEVICES, 5, lengths), treatment=Treatment(samples="deal"))
    assert len({arrival.sample for arrival in dealt[:5]}) == 5
    assert done.samples == "deal"


def test_a_model_of_one_length() -> None:
    assert set(Lengths(np.array([7, 7])).nearest(np.array([1, 7, 90]), np.random.default_rng(1)).tolist()) <= {0, 1}


def test_a_column_may_state_samples(tmp_path: Path) -> None:
    arrivals, done = imported(tmp_path, "time,picture\n2,99\n1,0\n", columns=Columns(sample="picture"))
    assert [arrival.sample for arrival in arrivals] == [0, 99]
    assert done.samples == "column"
    with pytest.raises(InputError, match="in:2: sample 100 does not exist") as caught:
        imported(tmp_path, "time,picture\n2,100\n1,0\n", columns=Columns(sample="picture"))
    assert "the model has 100 samples, from 0" in caught.value.hint


def test_an_own_trace_can_be_thinned(tmp_path: Path) -> None:
    text = "".join(f'{{"time_s": {n}, "device": "tv", "sample": {n % 90}}}\n' for n in range(1000))
    arrivals, done = imported(tmp_path, text, sieve=Sieve(keep=0.1))
    assert 60 < len(arrivals) < 140
    assert {arrival.device for arrival in arrivals} == {"tv"}
    first = int(arrivals[0].time_s)
    assert arrivals[0].sample == first % 90
    assert (done.devices, done.samples) == ("names", "column")


@pytest.mark.parametrize(
    ("treatment", "said"),
    [
        (Treatment(devices="hash"), "--devices hash needs a column"),
        (Treatment(devices="names"), "--devices names needs a column"),
        (Treatment(samples="column"), "--samples column needs a column"),
        (Treatment(samples="length"), "--samples length needs tokens"),
    ],
)
def test_a_choice_that_the_source_cannot_serve(tmp_path: Path, treatment: Treatment, said: str) -> None:
    with pytest.raises(InputError, match=said):
        imported(tmp_path, "time\n1\n2\n", treatment=treatment)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_trace_that_lasts_too_long(tmp_path: Path) -> None:
    text = "time\n1\n20000001\n"
    with pytest.raises(InputError, match=r"the trace lasts 2e\+07 s") as caught:
        imported(tmp_path, text)
    assert "--window" in caught.value.hint
    arrivals, _ = imported(tmp_path, text, treatment=Treatment(speed=100))
    assert arrivals[-1].time_s == 200_000


def test_a_failed_import_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(InputError):
        imported(tmp_path, "time\n1\nx\n")
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.jsonl"]
    (tmp_path / "in").write_text("time\n1\n")
    with pytest.raises(InputError, match="cannot be written: there is no folder"):
        import_trace(Source((tmp_path / "in",)), TARGET, tmp_path / "no" / "out", Sieve(), Treatment())


def test_gzip_is_written_by_its_name_and_always_alike(tmp_path: Path) -> None:
    text = stamps(500)
    plain, _ = imported(tmp_path, text)
    packed, _ = imported(tmp_path, text, name="out.jsonl.gz")
    content = (tmp_path / "out.jsonl.gz").read_bytes()
    assert packed == plain
    assert gzip.decompress(content) == (tmp_path / "out.jsonl").read_bytes()
    imported(tmp_path, text, name="other.jsonl.gz")
    assert (tmp_path / "other.jsonl.gz").read_bytes() == content


PEAK = """
import resource, sys
from cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak_mib(*arguments: str) -> float:
    """Peak memory of a command in a process of its own [MiB]."""
    done = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, order: str) -> None:
    """At four times the lines, import and inspection may take a few MiB more: blocks fill, and the heap wanders."""
    topology = str(Path(__file__).parents[4] / "topologies" / "quickstart.yaml")
    peaks = []
    for count in (100_000, 400_000):
        numbers = np.arange(count) / 100
        if order == "mixed":
            np.random.default_rng(1).shuffle(numbers)
        source, out = str(tmp_path / "in.csv"), str(tmp_path / "out.jsonl")
        np.savetxt(source, numbers, fmt="%.2f", header="time", comments="")
        peaks.append([
            peak_mib("trace", "import", source, "-t", topology, "--out", out),
            peak_mib("trace", "inspect", source),
            peak_mib("trace", "inspect", out),
        ])  # fmt: skip
    growth = np.array(peaks[1]) - np.array(peaks[0])
    # 300,000 tasks or requests as objects would take more than 30 MiB.
    assert (growth < 20).all(), peaks
