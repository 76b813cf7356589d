"""From finished or interrupted searches to the capacity of each policy."""

from collections.abc import Iterator, Mapping, Sequence

from testbed.capacity.capacity_result import LoadProbe, PolicyCapacity, SeedCapacity, State
from testbed.capacity.load_search import LoadSearch, common
from testbed.capacity.objective import DELAYS, Objective
from testbed.cells.batch import FEW_REPEATS
from testbed.cells.intervals import Estimate, estimate
from testbed.wording import counted


def table_of(
    policies: Sequence[str],
    seeds: Sequence[int],
    searches: Mapping[tuple[str, int], LoadSearch],
    offered_per_s: float,
) -> tuple[PolicyCapacity, ...]:
    """The capacity of each policy, in order.

    Args:
        policies: labels; the first is compared with the others.
        seeds: of the repeats.
        searches: by policy and seed.
        offered_per_s: tasks that all devices offer at load 1, mean over the seeds [1/s].
    """
    found: list[PolicyCapacity] = []
    first: list[float | None] = []
    for policy in policies:
        ours = [searches[policy, seed] for seed in seeds]
        loads = [search.capacity for search in ours]
        state = state_of(ours)
        load = estimate([each for each in loads if each is not None]) if state == "found" else None
        holds, misses = common(ours)
        found.append(
            PolicyCapacity(
                policy=policy,
                state=state,
                load=load,
                offered_per_s=load.mean * offered_per_s if load is not None else None,
                first_ahead_by=_ahead(first, loads) if first else None,
                holds_on_all=holds,
                misses_on_all=misses,
                seeds=tuple(_on(seed, search) for seed, search in zip(seeds, ours, strict=True)),
            )
        )
        first = first or loads
    return tuple(found)


def state_of(searches: Sequence[LoadSearch]) -> State:
    """The state of a policy, from its searches on all seeds."""
    if any(search.next() is not None for search in searches):
        return "unfinished"
    if all(search.capacity is not None for search in searches):
        return "found"
    if all(search.misses is None for search in searches):
        return "everywhere"
    return "nowhere" if all(search.holds is None for search in searches) else "mixed"


def _ahead(first: Sequence[float | None], other: Sequence[float | None]) -> Estimate | None:
    ratios = [a / b - 1 for a, b in zip(first, other, strict=True) if a is not None and b is not None]
    return estimate(ratios) if len(ratios) == len(first) else None


def _on(seed: int, search: LoadSearch) -> SeedCapacity:
    holds, misses, loads = search.holds, search.misses, search.grid.loads
    return SeedCapacity(
        seed=seed,
        holds_at=None if holds is None else loads[holds],
        misses_at=None if misses is None else loads[misses],
        capacity=search.capacity,
        probes=len(search.outcomes),
    )


def notes_on(
    table: Sequence[PolicyCapacity], probes: Sequence[LoadProbe], objective: Objective, seeds: Sequence[int]
) -> Iterator[str]:
    """Sentences that a reader of the figures must know."""
    if len(seeds) == 1:
        yield "one repeat only: no intervals"
    elif len(seeds) < FEW_REPEATS:
        yield f"intervals from {len(seeds)} repeats are rough, and rather too narrow"
    for one in table:
        if one.state == "mixed":
            inside = sum(each.capacity is not None for each in one.seeds)
            yield f"{one.policy}: the search crosses the objective on {inside} of {len(seeds)} seeds only; widen it"
    if not any(assertion.path.startswith((*DELAYS, "tasks.")) for assertion in objective.assertions):
        yield "the objective bounds neither delay nor losses: runs in which tasks pile up may hold it"
    yield from _without_value(table, probes, objective)
    if unheld := [probe for probe in probes if probe.unheld]:
        yield (
            f"the emulation did not hold in {counted(len(unheld), 'probe')}, the first: {unheld[0].run_directory}; "
            "such delays are those of this machine, and a capacity from them may be too low"
        )


def _without_value(table: Sequence[PolicyCapacity], probes: Sequence[LoadProbe], objective: Objective) -> Iterator[str]:
    """On figures that a policy has in no probe: they, and not its load, make it miss."""
    for number, assertion in enumerate(objective.assertions):
        if assertion.word is not None:
            continue
        concerned = [one.policy for one in table if assertion.policy in (None, one.policy)]
        values = {policy: [probe.values[number] for probe in probes if probe.policy == policy] for policy in concerned}
        if void := [policy for policy, found in values.items() if found and all(value is None for value in found)]:
            yield (
                f"{assertion.text}: no run of {', '.join(void)} has this figure, and a figure without a value misses "
                "every bound; no load is the reason"
            )
