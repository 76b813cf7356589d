"""The blocks of docs/benchmarks.md about networks that change, from kept results."""

import re
from collections.abc import Iterator

from tests.bench.dynamic import networks, reaction, traffic
from tests.bench.dynamic.policies import FIXED, OWN
from tests.bench.dynamic.room import LIMITS, PLAYED
from tests.bench.dynamic.scenarios import SCENARIOS
from tests.bench.markdown import paragraph, span, table
from tests.bench.results import Result
from tests.bench.table import Row, verdict


def scenarios(result: Result) -> list[str]:
    """Mean delays at equal thresholds, and the leads over the best rival in both comparisons."""
    rows = []
    names = [name for name in SCENARIOS if any(entry["name"].startswith(f"{name}, {OWN}") for entry in result.rows)]
    for name in names:
        delays = (f"{result.value(f'{name}, {FIXED}: {policy}, mean delay'):.0f}"
                  for policy in ("dto-ee", "dto-ee-static", "dto-ee-2c"))  # fmt: skip
        both = (_lead(result.row(f"{name}, {comparison}: lead over the best rival"), form)
                for comparison, form in ((FIXED, ".1f"), (OWN, ".0f")))  # fmt: skip
        rows.append((name, *delays, *both))
    head = ("", "dto-ee, ms", "dto-ee-static", "dto-ee-2c", "less delay than the best rival, %",
            "utility above the best rival's, ms")  # fmt: skip
    (whole,) = (entry for entry in result.rows if entry["name"].startswith("all of it: "))
    seeds = re.findall(r"(\d+) seeds", whole["name"])[0]
    lost = sum(result.values(r".*: dto-ee, lost"))
    behind = [entry for entry in result.rows if entry["name"].endswith(": lead, upper end, least of all rivals")]
    missed = sum(verdict(entry) == "missed" for entry in behind)
    return [
        *table(head, rows), "",
        *paragraph(
            f"{seeds} paired seeds; the whole suite took {whole['value']:.0f} min. Intervals hold for all comparisons "
            f"together (95 %). In {missed} of {len(behind)} comparisons some rival is ahead beyond its interval. "
            f"dto-ee lost {lost:.0f} tasks."
        ),
    ]  # fmt: skip


def _lead(entry: Row, form: str) -> str:
    ends = f" [{entry['low']:{form}}, {entry['high']:{form}}]" if "low" in entry else ""
    return f"{entry['value']:{form}}{ends}, {entry['rival']}"


def reactions(reacted: Result, recovered: Result) -> list[str]:
    """The time until the probability towards a slow server has halved, and the price of each change."""
    rows = []
    for name, server in reaction.SLOWED:
        cells = []
        for policy in reaction.POLICIES:
            where = f"{name}, {server} slows to a third, {policy}"
            cells.append(f"{reacted.value(f'{where}: probability halved after, median'):.2f}")
        wanted = reacted.value(f"{name}, {server} slows to a third, dto-ee: two sweeps and a report interval")
        rows.append((f"{name}, {server} slows to a third", *cells, f"{wanted:.2f}"))
    prices = [
        (entry["name"].removesuffix(": excess of dto-ee / former"), entry["rival"], *(
            f"{recovered.value(entry['name'].split(': ')[0] + f': {policy}, excess'):.1f}"
            for policy in ("dto-ee", "former behaviour")
        ), f"{entry['value']:.2f}")
        for entry in recovered.rows if entry["name"].endswith(": excess of dto-ee / former")
    ]  # fmt: skip
    static = recovered.value("city: mean delay of dto-ee / former")
    head = ("probability halved after, median, s", *reaction.POLICIES, "two sweeps and a report interval")
    return [
        *table(head, rows), "",
        *table(("excess delay, task x s", "", "dto-ee", "former behaviour", "quotient"), prices), "",
        *paragraph(f"In the city, where nothing changes, dto-ee has {static:.3f} times the former mean delay."),
    ]  # fmt: skip


def control_traffic(result: Result) -> list[str]:
    """Control messages in the city."""
    rows = []
    for load in traffic.LOADS:
        for policy in traffic.POLICIES:
            where = f"city {load}, {policy}"
            rows.append((
                load, policy, f"{result.value(f'{where}: control messages in all'):.0f}",
                f"{result.value(f'{where}: control bytes on a link'):.0f}",
                f"{result.value(f'{where}: control bytes on the busiest link'):.0f}",
                f"{result.value(f'{where}: share of a link{chr(39)}s rate, most') * 100:.3f} %",
            ))  # fmt: skip
    head = ("city", "policy", "messages/s in all", "B/s on a link", "on the busiest", "share of its rate, most")
    return table(head, rows)


def room(result: Result) -> list[str]:
    """The saving in delay of each limit."""
    rows = []
    for entry in result.rows:
        if entry["name"].endswith(": dto-ee, mean delay"):
            name = entry["name"].removesuffix(": dto-ee, mean delay")
            known = {each["name"]: each for each in result.rows}
            found = (known.get(f"{name}: {limit} has less delay") for limit in (*LIMITS, PLAYED))
            rows.append(
                (name, f"{entry['value']:.0f}", *("" if one is None else f"{one['value']:.1f}" for one in found))
            )
    return table(("less delay than dto-ee, %", "dto-ee, ms", *LIMITS, PLAYED), rows)


def random_networks(result: Result) -> list[str]:
    """The distance of plans from the best ones by load."""

    def cells() -> Iterator[str]:
        for load in networks.LOADS:
            planned = load <= networks.PLANNED
            what = "settled plans above the best, most" if planned else "mean delay above played, mean"
            found = result.values(rf"\d+ random networks, load {load:g}: {what}")
            lost = result.values(rf"\d+ random networks, load {load:g}: lost")
            yield f"{found[0]:.1f} %" + (f", {lost[0]:.0f} lost" if lost[0] else "")

    count = span((float(entry["name"].split(" ")[0]) for entry in result.rows), ".0f")
    head = (f"load of each stage, {count} networks", *(f"{load:g}" for load in networks.LOADS))
    row = (f"above the best plan (up to {networks.PLANNED:g}: worst network), or above `played` (mean)", *cells())
    return table(head, [row])
