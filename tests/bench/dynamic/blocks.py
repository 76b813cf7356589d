"""The blocks of docs/benchmarks.md about networks that change, from kept results."""

import re
from collections.abc import Iterator

from tests.bench.dynamic import networks, reaction, traffic
from tests.bench.dynamic.policies import AIM, FIXED, OWN
from tests.bench.dynamic.recovery import MOST_SHARE
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
        seeds = len(result.row(f"{name}, {FIXED}: dto-ee, mean delay")["samples"])
        delays = (f"{result.value(f'{name}, {FIXED}: {policy}, mean delay'):.0f}"
                  for policy in ("dto-ee", "dto-ee-static", "dto-ee-2c"))  # fmt: skip
        both = (_lead(result.row(f"{name}, {comparison}: lead over the best rival"), form)
                for comparison, form in ((FIXED, ".1f"), (OWN, ".0f")))  # fmt: skip
        rows.append((name, f"{seeds}", *delays, *both))
    head = ("", "seeds", "dto-ee, ms", "dto-ee-static", "dto-ee-2c", "less delay than the best rival, %",
            "utility above the best rival's, ms")  # fmt: skip
    (whole,) = (entry for entry in result.rows if entry["name"].startswith("all of it: "))
    lost = sum(result.values(r".*: dto-ee, lost"))
    behind = [entry for entry in result.rows if entry["name"].endswith(": lead, upper end, least of all rivals")]
    missed = [entry for entry in behind if verdict(entry) == "missed"]
    where = ": " + "; ".join(f"{entry['name'].split(':')[0]} ({entry['rival']})" for entry in missed) if missed else ""
    aimed = [entry for entry in result.rows if ": lead over the best rival" in entry["name"] and entry["goal"]]
    short = [entry["name"].split(f", {FIXED}")[0] for entry in aimed if verdict(entry) == "missed"]
    return [
        *table(head, rows), "",
        *paragraph(
            f"Seeds are paired; the whole suite took {whole['value']:.0f} min. Intervals hold for all comparisons "
            f"together (95 %). In {len(missed)} of {len(behind)} comparisons some rival is ahead beyond its interval"
            f"{where}. The aim, {AIM:g} % less delay than the best rival, is missed in {len(short)} of {len(aimed)} "
            f"networks{': ' + '; '.join(short) if short else ''}. dto-ee lost {lost:.0f} tasks."
        ),
    ]  # fmt: skip


def _lead(entry: Row, form: str) -> str:
    ends = f" [{entry['low']:{form}}, {entry['high']:{form}}]" if "low" in entry else ""
    return f"{entry['value']:{form}}{ends}, {entry['rival']}"


def reactions(reacted: Result, recovered: Result) -> list[str]:
    """The time until the probability towards a slow server has halved, and the price of each change."""
    rows, late = [], 0
    for name, server in reaction.SLOWED:
        cells = []
        for policy in reaction.POLICIES:
            where = f"{name}, {server} slows to a third, {policy}"
            cells.append(f"{reacted.value(f'{where}: probability halved after, median'):.2f}")
        where = f"{name}, {server} slows to a third, {reaction.POLICIES[0]}"
        late += verdict(reacted.row(f"{where}: probability halved after, median")) == "missed"
        wanted = reacted.value(f"{where}: two sweeps and a report interval")
        rows.append((f"{name}, {server} slows to a third", *cells, f"{wanted:.2f}"))
    prices = [
        (entry["name"].removesuffix(": excess of dto-ee / former"), entry["rival"], *(
            f"{recovered.value(entry['name'].split(': ')[0] + f': {policy}, excess'):.1f}"
            for policy in ("dto-ee", "former behaviour")
        ), f"{entry['value']:.2f}")
        for entry in recovered.rows if entry["name"].endswith(": excess of dto-ee / former")
    ]  # fmt: skip
    static = recovered.value("city: mean delay of dto-ee / former")
    quotients = [entry for entry in recovered.rows if entry["name"].endswith(": excess of dto-ee / former")]
    costly = sum(verdict(entry) == "missed" for entry in quotients)
    runs = span(reacted.values(r".*: runs"), ".0f")
    seeds = recovered.value("seeds of each change")
    head = ("probability halved after, median, s", *reaction.POLICIES, "two sweeps and a report interval")
    return [
        *table(head, rows), "",
        *table(("excess delay, task x s", "", "dto-ee", "former behaviour", "quotient"), prices), "",
        *paragraph(
            f"Medians are over {runs} runs, excesses over {seeds:.0f} seeds. The goal of "
            f"two sweeps and a report interval is missed for {late} of {len(reaction.SLOWED)} servers, that of a "
            f"quotient of at most {MOST_SHARE:g} after {costly} of {len(quotients)} changes. In the city, where "
            f"nothing changes, dto-ee has {static:.3f} times the former mean delay."
        ),
    ]  # fmt: skip


def control_traffic(result: Result) -> list[str]:
    """Control messages in the city."""
    rows, more = [], []
    for load in traffic.LOADS:
        if verdict(result.row(f"city {load}, dto-ee: control bytes on a link")) == "missed":
            more.append(load)
        for policy in traffic.POLICIES:
            where = f"city {load}, {policy}"
            rows.append((
                load, policy, f"{result.value(f'{where}: control messages in all'):.0f}",
                f"{result.value(f'{where}: control bytes on a link'):.0f}",
                f"{result.value(f'{where}: control bytes on the busiest link'):.0f}",
                f"{result.value(f'{where}: share of a link{chr(39)}s rate, most') * 100:.3f} %",
            ))  # fmt: skip
    head = ("city", "policy", "messages/s in all", "B/s on a link", "on the busiest", "share of its rate, most")
    goal = f"missed {' and '.join(more)}" if more else "kept"
    return [*table(head, rows), "", *paragraph(f"The goal, no more bytes than dto-ee-static, is {goal}.")]


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
    seeds = result.value("seeds of each scenario")
    return [
        *table(("less delay than dto-ee, %", "dto-ee, ms", *LIMITS, PLAYED), rows), "",
        *paragraph(f"Means over {seeds:.0f} seeds."),
    ]  # fmt: skip


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
    goals = [entry for entry in result.rows if entry["goal"] and not entry["name"].endswith(": lost")]
    missed = [re.findall(r"load ([\d.]+)", entry["name"])[0] for entry in goals if verdict(entry) == "missed"]
    kept = f"missed at load {', '.join(missed)}" if missed else "reached"
    return [
        *table(head, [row]), "",
        *paragraph(
            f"The goal, at most {networks.MOST_ABOVE:g} % above the best plan, {networks.MOST_ABOVE_PLAYED:g} % above "
            f"`played`, is {kept}."
        ),
    ]  # fmt: skip
