"""The content of each block of README and docs/, from kept results: tables, and the sentences that quote figures."""

import re
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from node_agent.policies import policy_defaults, policy_lines
from testbed.fidelity.report import VERDICTS
from tests.bench import (
    admission,
    city_blocks,
    frontier_blocks,
    language,
    models,
    onboard,
    policies,
    tables,
    theta,
    thresholds,
)
from tests.bench.convergence import GOALS, INSTANCES, SIZES
from tests.bench.dynamic import blocks as dynamic_blocks
from tests.bench.markdown import paragraph, span, table
from tests.bench.results import Result
from tests.bench.scale import DEVICES, SERVERS_OF_A_STAGE, SLOT_S, STAGES, TASKS
from tests.bench.simulated import NAMES, POLICIES, SEEDS
from tests.bench.table import Row, verdict

FIDELITY = ("links", "compute", "scale", "hogs", "second_kernel")
RIGHT = r"^(.*): right (verdict|cause), of (\d+)"  # rows of the bench `verdict`
ABOUT = {
    "quickstart": "six devices, eight servers; the fastest one slows to a third and recovers",
    "surge": "arrival rates double, and fall back",
    "slowdown": "three servers slow to a third, and recover",
    "linkdrop": "links drop to a tenth of their rate, and recover",
    "campus": "a switch, bursty arrivals, an uplink that slows down, a server that dies and comes back",
    "commute": "phones on cellular links that follow recorded traces",
    "city": "50 devices, 6-5-4 servers, 350 links, another city with every seed; runs live on two cores",
    "metro": "150 devices in six districts, five stages of 12-10-8-6-4 servers, 872 links; on two cores at "
             "`time_scale: 3`",
    "streetlights": "street-light cameras, boxes on posts and in cabinets; work and bytes of a ResNet-101",
    "doorbells": "video doorbells that run stage 1 themselves, or send pictures to a box in the street",
    "dictionary": "readers look up words: texts of different lengths, and a language model",
    "assistant": "quickstart's network with a small language model: the next token of a text; slots of 10 s",
}  # fmt: skip


def monitor(quickstart: Result) -> list[str]:
    return _code(quickstart.text("monitor"))


def summary(quickstart: Result) -> list[str]:
    return _code(quickstart.text("summary"))


def needs(quickstart: Result, city: Result) -> list[str]:
    """The memory, disk space and time of quickstart and of the installation."""
    memory_mib, recorded_mib, took_s = (quickstart.value(f"quickstart: {name}") for name in (
        "memory of all processes (PSS)", "run directory", "from the command to the summary"))  # fmt: skip
    (installed,) = (entry for entry in quickstart.rows if entry["name"].startswith("installation: "))
    (agent_mib,) = city.values("city: memory of an agent .*, mean, with their 2 parents")
    environment = installed["name"].removeprefix("installation: .venv with ")
    return table(("", "run of quickstart", "beyond it"), [
        ("memory", f"{memory_mib:.0f} MiB, all processes together", f"{agent_mib:.0f} MiB for each further node"),
        ("disk", f"{recorded_mib:.1f} MiB for the run directory",
         f"{installed['value'] / 1024:.1f} GiB for `.venv/` with {environment}"),
        ("time", f"{took_s:.0f} s from the command to the summary", ""),
    ])  # fmt: skip


def _code(lines: Iterable[str]) -> list[str]:
    return ["", *(f"    {line}".rstrip() for line in lines), ""]


def topologies(simulated: Result) -> list[str]:
    rows = []
    for name in NAMES:
        mean_ms, p95_ms = (simulated.value(f"{name}: {figure} delay") for figure in ("mean", "p95"))
        accuracy = simulated.value(f"{name}: accuracy")
        rows.append((f"`{name}.yaml`", ABOUT[name], f"{mean_ms:.0f}, {p95_ms:.0f} ms", f"{accuracy * 100:.1f} %"))
    return table(("", "", "simulated: delay, mean and p95", "accuracy"), rows)


def thetas(result: Result) -> list[str]:
    """Delay and accuracy at each theta."""
    rows = []
    for theta_s in theta.THETAS_S:
        where = f"quickstart, theta {theta_s:g} s"
        mean_ms, p95_ms = (result.value(f"{where}: {figure} delay") for figure in ("mean", "p95"))
        accuracy = f"{result.value(f'{where}: accuracy') * 100:.1f} %"
        rows.append(
            (f"`theta: {theta_s:g} s`", f"{theta_s * 10:g} ms", f"{mean_ms:.0f} ms", f"{p95_ms:.0f} ms", accuracy)
        )
    return table(("", "a point of accuracy is worth", "mean delay", "p95", "accuracy"), rows)


def stage_1_on_the_device(result: Result) -> list[str]:
    """Delay and bytes with and without own processors, at equal accuracy."""
    rows = []
    for case in onboard.CASES:
        for threshold in onboard.THRESHOLDS:
            where = f"{case}, threshold {threshold:g}"
            cells = [
                f"{result.value(f'{where}, {kind}: {figure}'):.0f}"
                for figure in ("mean delay", "bytes per task") for kind in (onboard.WITH, onboard.WITHOUT)
            ]  # fmt: skip
            accuracy = result.value(f"{where}, {onboard.WITH}: accuracy")
            rows.append((case, f"{threshold:g}", f"{accuracy * 100:.1f} %", *cells))
    head = ("", "threshold", "accuracy, both", "mean delay with", "without", "kB per task on the device's links with",
            "without")  # fmt: skip
    return table(head, rows)


def delay_bounds(result: Result) -> list[str]:
    """Delay, refusals, accuracy and goodput at each bound on the delay."""
    rows = []
    for bound in admission.BOUNDS:
        where = admission.name_of(bound)
        mean_ms, p95_ms = (result.value(f"{where}: {figure} delay") for figure in ("mean", "p95"))
        shares = (result.value(f"{where}: {figure}") * 100 for figure in ("refused share", "accuracy", "goodput"))
        what = "no bound" if bound is None else f"`delay_bound: {bound}`"
        rows.append((what, f"{mean_ms:.0f} ms", f"{p95_ms:.0f} ms", *(f"{share:.1f} %" for share in shares)))
    return table(("", "mean delay", "p95", "refused", "accuracy", "goodput"), rows)


def exits(result: Result) -> list[str]:
    blocks = ("1", "2", "3", "4", "5", "7")
    rows = []
    for name in models.CUTS:
        known = {entry["name"]: entry["value"] for entry in result.rows}
        found = [known.get(f"{name}: exit after block {block}: accuracy") for block in blocks]
        rows.append((f"accuracy, `{name}`", *("" if value is None else _share(value) for value in found)))
    return table(("exit after block", *blocks), rows)


def leaving(result: Result) -> list[str]:
    rows = []
    for name, cut in models.CUTS.items():
        for threshold in models.THRESHOLDS:
            where = f"{name}: threshold {threshold}"
            shares = [result.value(f"{where}: leave at stage {stage}") for stage in range(1, len(cut) + 1)]
            left = " / ".join(f"{share:.1f}" for share in shares)
            model = f"`{name}`, cut {'-'.join(map(str, cut))}"
            rows.append((model, f"{threshold:.2f}", f"{left} %", _share(result.value(f"{where}: accuracy"))))
    return table(("model", "threshold", "leave at stage 1 / 2 / 3 ...", "accuracy"), rows)


def tokens(result: Result) -> list[str]:
    """The exits of smollm, and what one threshold gives."""
    ((name, cut),) = models.TOKENS.items()
    right = [_share(result.value(f"{name}: exit after block {block}: accuracy")) for block in cut]
    rows = [("of each exit alone", "", *right)]
    for threshold in models.THRESHOLDS:
        where = f"{name}: threshold {threshold}"
        shares = [f"{result.value(f'{where}: leave at stage {stage}'):.1f} %" for stage in range(1, len(cut) + 1)]
        rows.append((f"leave under threshold {threshold:.2f}", _share(result.value(f"{where}: accuracy")), *shares))
    return table((f"`{name}`", "agreement with the whole model", *(f"after layer {block}" for block in cut)), rows)


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def rivals(result: Result) -> list[str]:
    """The table of reductions, and what follows from it."""
    names = {entry["name"]: entry for entry in result.rows}
    rows = []
    for rival in ("computing-first", "uniform", "bandwidth-first", "ga", *policies.OTHERS):
        cells = []
        for load in policies.LOADS:
            where = f"city, load {load:.2f}"
            if f"{where}: {rival} overloaded" in names:
                cells.append("overloaded")
                continue
            entry = result.row(f"{where}: delay reduction against {rival}")
            cells.append(f"{entry['value']:.1f} % [{entry['low']:.1f}, {entry['high']:.1f}]")
        rows.append((rival, *cells))
    gains = [result.value(f"city, load {load:.2f}: accuracy gained against fixed-threshold") for load in policies.LOADS]
    rows.append(("accuracy of dto-ee, less that of fixed thresholds", *(f"{gain:.1f} points" for gain in gains)))
    head = ("against", *(f"load {load:.2f}".replace(" 0.", " .") for load in policies.LOADS))
    simple = result.values(r"city, load .*: the same without the central one")
    central = result.values(r"city, load .*: delay reduction against ga")
    two = result.values(r"city: dto-ee-2c / dto-ee-static mean delay, .*")
    ages = ", ".join(f"{age_s * 1e3:g}" for age_s in policies.AGES_S)
    return [
        *table(head, rows), "",
        *paragraph(
            f"The margin over the best simple rival is {span(simple, '.0f')} %; over a central genetic algorithm that "
            f"knows the whole network and the same queueing formula it is {span(central, '.1f')} %. With reports up to "
            f"{ages} ms old, `dto-ee-2c` has {span(two, '.2f')} times the delay of `dto-ee-static`."
        ),
    ]  # fmt: skip


def thresholds_found(result: Result) -> list[str]:
    most = {what: result.value(f"{what}: {thresholds.GAINED}") for what, _, _ in thresholds.CASES}
    *even, (scarce, gain) = most.items()
    told = " and ".join(f"{value:.1f} ({what})" for what, value in even)
    thetas = f"{thresholds.THETAS_S[0]:g} to {thresholds.THETAS_S[-1]:g} s"
    return paragraph(
        "**Thresholds** (`thresholds`), simulated. Where all stages are equally busy, thresholds that adapt gain "
        f"hardly anything on the best fixed one in hindsight: at equal delay at the most {told} points of accuracy, "
        f"theta from {thetas}; but nobody has to know which one that is. Where one stage is scarce ({scarce}), it is "
        f"{gain:.1f} points."
    )


def convergence(result: Result) -> list[str]:
    def count(name: str, share: str, figure: str) -> str:
        found = [entry["value"] for entry in result.rows
                 if entry["name"] == f"{name}, to {share} %, {figure}" and not entry["rival"]]  # fmt: skip
        return f"{found[0]:g}"

    cold = ", ".join(f"{count(f'cold start, load {load}', '5', 'median')} "
                     f"({count(f'cold start, load {load}', '5', 'most')}) at load {_share_of_one(load)}"
                     for load in GOALS)  # fmt: skip
    warm = "warm start, rates +-20 %, speeds +-15 %, floor 0.0001"
    return paragraph(
        f"**Convergence** (`convergence`), {SIZES[0]} devices and {'-'.join(map(str, SIZES[1:]))} servers, {INSTANCES} "
        f"networks: rounds from computing-first to within 5 % of the optimum, median (most): {cold}; back to 1 % after "
        f"rates changed by up to 20 % and speeds by 15 %: {count(warm, '1', 'median')} ({count(warm, '1', 'most')})."
    )


def _share_of_one(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def agreement(result: Result) -> list[str]:
    """The mean delays of both sides, and their quotient."""
    rows, off = [], []
    for policy in POLICIES:
        ours = [result.value(f"{policy}, seed {seed}: mean delay, live") for seed in SEEDS]
        theirs = [result.value(f"{policy}, seed {seed}: mean delay, simulated") for seed in SEEDS]
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        overloaded = policy == "bandwidth-first"
        off += [] if overloaded else [abs(ratio - 1) for ratio in ratios]
        columns = (", ".join(f"{value:.0f}" for value in values) for values in (ours, theirs))
        rows.append((f"{policy} (overloaded)" if overloaded else policy, *columns, f"{median(ratios):.2f}"))
    lost = sum(result.values(r".*: lost, live"))
    orders = [entry for entry in result.rows if entry["name"].startswith("order of ")]
    same = sum(verdict(entry) == "ok" for entry in orders)
    return [
        *table(("", "live", "simulated", "live / simulated, median"), rows), "",
        *paragraph(
            f"Live, {lost:.0f} tasks were lost; {same} of {len(orders)} pairs of policies have the same order both "
            f"ways. Where tasks do not pile up, no run is more than {max(off) * 100:.1f} % off."
        ),
    ]  # fmt: skip


def fidelity(links: Result, compute: Result, scale: Result, hogs: Result, second_kernel: Result) -> list[str]:
    def worst(result: Result, pattern: str) -> float:
        return max(result.values(pattern))

    idle = [worst(links, rf"links: round trip of .* idle: p{share} error") for share in (50, 99)]
    lost = sum(links.values(r"links: packets lost while a .* changes.*"))
    after = [links.value(f"links: a change of {what} takes effect, worst") for what in ("delay", "rate")]
    netem = [worst(second_kernel, rf"links: round trip of .* idle: p{share} error .*") for share in (50, 99)]
    rows = [
        ("round trip over 60 idle links, 1 to 50 ms each way", "error, p50 / p99", f"{idle[0]:.2f} / {idle[1]:.2f} ms"),
        ("the same, both processors busy", "error, p99",
         f"{worst(links, r'links: round trip of .*, processors busy: p99 error'):.2f} ms"),
        ("TCP at 1 to 100 Mbit/s", "error of the rate",
         f"{worst(links, r'links: rate of TCP at .*, error'):.1f} % at most"),
        ("delay, or rate, changed during a transfer", "lost; in force after",
         f"{lost:.0f}; {after[0]:.0f} ms, or {after[1]:.0f} ms"),
        ("paced services of 40 agents that use half of the CPU", "error, p99",
         f"{compute.value('paced service, p99 error'):.2f} ms"),
        ("quota, 5 to 70 % of a CPU", "error of the mean rate",
         f"{worst(compute, r'quota, .*: error of the mean rate'):.1f} % at most"),
        ("the same run at `time_scale` 1 and 3", "difference of mean, p50, p95, at most",
         f"{worst(scale, r'time_scale: .* delay at 3 off that at 1') * 100:.1f} %"),
        *_beside(hogs),
        ("netem under a second kernel (user-mode Linux)", "error of a round trip, p50 / p99; of the rate",
         f"{netem[0]:.1f} / {netem[1]:.1f} ms; {worst(second_kernel, r'links: rate of TCP at .*, error .*'):.1f} %"),
    ]  # fmt: skip
    return table(("", "", ""), rows)


def _beside(hogs: Result) -> list[Sequence[str]]:
    """The run beside the most busy loops of either kind."""
    rows: list[Sequence[str]] = []
    for load in ("32 busy loops", "8 busy loops and real-time ones"):
        called = VERDICTS[int(hogs.value(f"{load}: verdict"))]
        off = hogs.value(f"{load}: mean delay off the calm run's")
        rows.append((f"beside {load}, called {called}", "mean delay off the calm run", f"{off * 100:.2g} %"))
    return rows


def verdicts(trials: Result, cost: Result) -> list[str]:
    """The verdicts on disturbed runs, and the time that the check took."""

    def count(entry: Row) -> str:
        return f"{entry['value']:.0f} of {re.findall(RIGHT, entry['name'])[0][2]}"

    told: dict[str, dict[str, str]] = {}
    for entry in trials.rows:
        (name, what, _), *_ = re.findall(RIGHT, entry["name"])
        told.setdefault(name, {})[what] = count(entry)
    rows = [("nothing" if name == "calm" else name, each["verdict"], each.get("cause", "")) for name, each in
            told.items()]  # fmt: skip
    shares = {name: cost.value(f"{name}: the check, of the run's time") for name in ("quickstart", "city")}
    return [
        *table(("what befell the run", "verdict right", "cause right, where it touched tasks"), rows), "",
        *paragraph(
            f"The check takes {shares['quickstart']:.1f} % of the run's time for quickstart and {shares['city']:.1f} % "
            "for the city, after the run."
        ),
    ]  # fmt: skip


def scale(result: Result) -> list[str]:
    servers = STAGES * SERVERS_OF_A_STAGE

    def of(slot_s: float, figure: str) -> float:
        return result.value(f"simulate {DEVICES} devices, {servers} servers, slot {slot_s:g} s: {figure}")

    took_s, longer_s, memory_mib = of(SLOT_S, "wall time"), of(SLOT_S / 2, "wall time"), of(SLOT_S, "peak memory")
    return paragraph(
        f"**Scale** (`scale`): `simulate` of {DEVICES:,} devices, {servers} servers and {TASKS:,} tasks under dto-ee "
        f"takes {took_s:.0f} s and {memory_mib:.0f} MiB with slots of {SLOT_S:g} s, and {longer_s:.0f} s with slots of "
        f"{SLOT_S / 2:g} s: nearly all of it are the messages of the rounds. One round on 100,000 nodes takes "
        f"{result.value('one round on 100,000 nodes'):.2g} s."
    )


def large_table(result: Result) -> list[str]:
    def of(figure: str) -> float:
        return result.value(f"{tables.WHERE}: {figure}")

    each = f"each of {tables.CHILDREN} forked processes"
    csv_s = result.value(f"CSV of {tables.CSV_SAMPLES:,} samples and {tables.EXITS} exits: read and checked")
    return paragraph(
        f"**Tables** (`tables`): an npz of {tables.SAMPLES:,} samples and {tables.EXITS} exits is read and checked in "
        f"{of('read and checked'):.1f} s, takes {of('memory that it takes'):.0f} MiB, and {of(f'{each}: PSS'):.0f} MiB "
        f"of each of {tables.CHILDREN} processes that share it; {tables.TASKS:,} tasks add "
        f"{of(f'{each}: growth of its private memory by {tables.TASKS:,} tasks'):.1f} MiB. CSV takes longer: "
        f"{csv_s:.1f} s for {tables.CSV_SAMPLES:,} samples."
    )


def language_models(result: Result) -> list[str]:
    found = re.compile(r"(\w+): unpaced server of stage (\d), saturated: (.*)")
    rows: dict[tuple[str, str], list[str]] = {}
    for entry in result.rows:
        (model, stage, figure), *_ = found.findall(entry["name"])
        share = figure.startswith("rate over")
        cell = f"{entry['value']:.2f}" if share else f"{entry['value']:.0f}"
        rows.setdefault((model, stage), []).append(cell if verdict(entry) != "missed" else f"**missed**: {cell}")
    header = ("model", "stage", "tasks/s", f"over a bare PyTorch loop (goal {language.GOAL})")
    return table(header, [(*key, *cells) for key, cells in rows.items()])


def offered_policies() -> list[str]:
    """The policies, each with one line and its parameters and their defaults."""
    defaults = {
        name: ", ".join(f"`{key}` {words}".rstrip() for key, words in parameters.items())
        for name, parameters in policy_defaults().items()
    }
    rows = [(f"`{name}`", line, defaults[name]) for name, line in policy_lines().items()]
    return table(("policy", "", "parameters, with defaults"), rows)


BLOCKS: dict[str, tuple[tuple[str, ...], Callable[..., list[str]]]] = {
    "monitor": (("quickstart",), monitor),
    "summary": (("quickstart",), summary),
    "needs": (("quickstart", "city.memory"), needs),
    "topologies": (("simulated",), topologies),
    "offered-policies": ((), offered_policies),
    "theta": (("theta",), thetas),
    "onboard": (("onboard",), stage_1_on_the_device),
    "admission": (("admission",), delay_bounds),
    "exits": (("models",), exits),
    "leaving": (("models",), leaving),
    "tokens": (("models",), tokens),
    "frontier": (("frontier",), frontier_blocks.frontiers),
    "policies": (("policies",), rivals),
    "dynamic": (("dynamic.policies",), dynamic_blocks.scenarios),
    "room": (("dynamic.room",), dynamic_blocks.room),
    "reactions": (("dynamic.reaction", "dynamic.recovery"), dynamic_blocks.reactions),
    "control-traffic": (("dynamic.traffic",), dynamic_blocks.control_traffic),
    "random-networks": (("dynamic.networks",), dynamic_blocks.random_networks),
    "thresholds": (("thresholds",), thresholds_found),
    "convergence": (("convergence",), convergence),
    "agreement": (("agreement",), agreement),
    "fidelity": (tuple(f"fidelity.{part}" for part in FIDELITY), fidelity),
    "verdict": (("verdict", "verdict.cost"), verdicts),
    "city": (city_blocks.PARTS, city_blocks.parts),
    "growth": (("city.growth",), city_blocks.growth),
    "scale": (("scale",), scale),
    "tables": (("tables",), large_table),
    "language": (("language",), language_models),
}
"""What renders a block, and the benches whose kept results it is given."""
