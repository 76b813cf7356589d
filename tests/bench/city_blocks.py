"""The blocks about the city."""

import re
from collections.abc import Sequence

from testbed.fidelity.report import VERDICTS
from tests.bench.city.growth import SIZES
from tests.bench.markdown import table
from tests.bench.results import Result
from tests.bench.table import verdict

NAMES = ("startup", "memory", "idle", "overhead", "throughput", "rounds", "sweep", "endurance")
PARTS = tuple(f"city.{name}" for name in NAMES)


def parts(*results: Result) -> list[str]:
    """A line for each goal."""
    found = dict(zip(NAMES, results, strict=True))
    head = ("part", "", "goal", "measured", "beside it")
    return table(head, [line for name in NAMES for line in LINES[name](found[name])])


def _judged(result: Result, pattern: str, text: str) -> str:
    """The text, and in bold if a row that matches misses its goal."""
    result.values(pattern)
    missed = any(verdict(entry) == "missed" for entry in result.rows if _matches(pattern, entry["name"]))
    return f"**missed**: {text}" if missed else text


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name) is not None


def _startup(result: Result) -> list[Sequence[str]]:
    first_s, ratio = (result.value(f"city: {name}") for name in (
        "command to first answered task", "the same, as a share of plain Mininet's time"))  # fmt: skip
    plain_s, stop_s = (result.value(f"city: {name}") for name in (
        "plain Mininet, command to network started", "Ctrl-C to end of process"))  # fmt: skip
    return [
        ("`startup`", "from the command to the first answered task", "plain Mininet's time",
         _judged(result, "city: the same, as a share.*", f"{first_s:.1f} s"),
         f"{plain_s:.1f} s for plain Mininet to build and start the same hosts and links: ratio {ratio:.2f}"),
        ("", "from Ctrl-C to the end, nothing left", "5 s",
         _judged(result, "city: Ctrl-C to end of process", f"{stop_s:.1f} s"), ""),
    ]  # fmt: skip


def _memory(result: Result) -> list[Sequence[str]]:
    where = "city: memory of an agent \\(PSS\\), .*"
    alone, whole = result.values(f"{where}, mean")[0], result.values(f"{where}, mean, with their .*")[0]
    beside = next(entry["rival"] for entry in result.rows if entry["rival"])
    return [("`memory`", "of an agent (PSS), mean; with the agents' parents", "12 MiB",
             _judged(result, f"{where}, mean", f"{alone:.1f} MiB; {whole:.1f} MiB"), beside)]  # fmt: skip


def _idle(result: Result) -> list[Sequence[str]]:
    whole = result.values(".*: CPU of everything, of one core")[0]
    own = result.values(".*: CPU of its processes, of one core")[0]
    return [("`idle`", "nothing to do, live view on: everything, of one core", "10 %",
             _judged(result, ".*: CPU of everything, of one core", f"{whole:.1f} %"),
             f"{own:.1f} % by its own processes")]  # fmt: skip


def _overhead(result: Result) -> list[Sequence[str]]:
    where = "city: overhead of a hop, .*"
    p50, p99 = (result.values(f"{where}, p{share}")[0] for share in (50, 99))
    beyond = result.value("city: transfer beyond the link's delay and rate, p50")
    return [("`overhead`", "of a hop, from received to sent, less queueing and paced service: p50, p99", "0.5, 2 ms",
             _judged(result, where, f"{p50:.2f}, {p99:.2f} ms"),
             f"{beyond:.2f} ms more between two nodes (p50), beyond the link's delay and rate")]  # fmt: skip


def _throughput(result: Result) -> list[Sequence[str]]:
    pattern = "unpaced server of stage .*: rate over that of the bare loop"
    ratios = ", ".join(f"{ratio:.2f}" for ratio in result.values(pattern))
    task = re.compile(r"unpaced server of stage (\d), saturated, a task: (.*)")
    parts = [(found[1], found[2], entry["value"]) for entry in result.rows if (found := task.fullmatch(entry["name"]))]
    profile = ", ".join(f"{part} {time_us:.0f}" for _, part, time_us in parts)
    beside = f"a task at stage {parts[0][0]}, us: {profile}" if parts else ""
    return [("`throughput`", "a saturated server that nothing paces, over a bare PyTorch loop: stages 1, 2, 3", "0.85",
             _judged(result, pattern, ratios), beside)]  # fmt: skip


def _rounds(result: Result) -> list[Sequence[str]]:
    device = result.values("a round at a device, .*")[0]
    process = result.value("a round at a device's process, live, all threads")
    return [("`rounds`", "CPU of a DTO-EE round at a node with 6 receivers", "200 us",
             _judged(result, "a round at a device, .*", f"{device:.0f} us"),
             f"{process / 1e3:.1f} ms with sockets and all threads")]  # fmt: skip


def _sweep(result: Result) -> list[Sequence[str]]:
    where = "a sweep over the sum of its link delays, "
    entries = [result.row(f"{where}{name}") for name in ("median", "95th percentile")]
    return [("`sweep`", "a round over the sum of its link delays: median, p95", "1.2",
             _judged(result, f"{where}(median|95th percentile)", ", ".join(f"{e['value']:.2f}" for e in entries)),
             entries[0]["rival"])]  # fmt: skip


def _endurance(result: Result) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = []
    for name, what in (("city", "city, five minutes"), ("metro", "metro, five minutes at `time_scale: 3`")):
        called = VERDICTS[int(result.values(f"{name}, .* s: verdict .*")[0])]
        lost = next(entry for entry in result.rows if _matches(f"{name}, .* s: lost", entry["name"]))
        busy = result.values(f"{name}, .* s: machine busy")[0]
        delay = next(entry for entry in result.rows if _matches(f"{name}, .* s: mean delay", entry["name"]))
        told = f"{called}, {lost['value']:.0f} lost ({lost['rival']}), machine {busy:.0f} % busy"
        lines.append(("" if lines else "`endurance`", what, "held, 0 lost",
                      _judged(result, f"{name}, .* s: (verdict.*|lost)", told),
                      f"mean delay {delay['value']:.0f} ms, {delay['rival'].rsplit(', ', 1)[0]}"))  # fmt: skip
    return lines


LINES = {"startup": _startup, "memory": _memory, "idle": _idle, "overhead": _overhead, "throughput": _throughput,
         "rounds": _rounds, "sweep": _sweep, "endurance": _endurance}  # fmt: skip


def growth(result: Result) -> list[str]:
    """A line for each figure, over the number of nodes."""
    rows = []
    for what, figure, form, of in (
        ("set-up, s", "set-up", ".1f", "set-up"),
        ("CPU of a node without tasks but with rounds, ms/s", "CPU without tasks, a node", ".1f",
         "CPU without tasks, all nodes"),
        ("CPU of a task, ms (a small difference of two runs)", "CPU a task", ".1f", "CPU a task"),
        ("memory of all agents, MiB", "memory (PSS) of all agents", ".0f", "memory of all agents"),
    ):  # fmt: skip
        values = [result.value(f"growth: {size} nodes: {figure}") for size in SIZES]
        exponent = f"{result.value(f'growth: exponent of nodes, {of}'):.2f}"
        exponent += " for all nodes" if of.endswith("all nodes") else ""
        rows.append((what, *(format(value, form) for value in values), exponent))
    return table(("nodes", *map(str, SIZES), "exponent"), rows)
