"""The runs of a sweep: which policy runs at which point, on which topology, in which directory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from node_agent.errors import InputError
from node_agent.policies import parameter_names, parse_policy
from testbed.cells.batch import MAX_RUNS, Options, check_plans, settings_of
from testbed.cells.cell import Cell, RunSettings
from testbed.cells.policy_specs import PolicySpec
from testbed.record.run_directory import folder_name
from testbed.run.plan import Plan
from testbed.sweep.axis import KeyAxis
from testbed.sweep.design import DesignPoint
from testbed.topology.overrides import Override

MOST_FOLDER_CHARACTERS = 100
OWN = PolicySpec("", "own-policy", None, "", "own-policy")
"""The topology's own policy, before its label is known."""


@dataclass(frozen=True, slots=True)
class PolicyPlace:
    """A policy at a point.

    Attributes:
        overrides: what replaces values of the topology, besides those of all runs.
        spec: the policy with its parameters at this point.
        words: the values that belong to it, `theta=1 s, load=x2`; without parameters that the policy does not have.
    """

    overrides: tuple[Override, ...]
    spec: PolicySpec
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """All runs of a sweep.

    Attributes:
        first: the plan of the first run.
        specs: the policies with their labels.
        points: the points, in order.
        cells: every run once.
        cells_at: by number of the point and label of the policy, its runs, one per seed. Points share the runs of a
            policy that has none of the parameters in which they differ.
    """

    first: Plan
    specs: tuple[PolicySpec, ...]
    points: tuple[DesignPoint, ...]
    cells: tuple[Cell, ...]
    cells_at: Mapping[tuple[int, str], tuple[Cell, ...]]


def place_of(axes: Sequence[KeyAxis], point: DesignPoint, spec: PolicySpec) -> PolicyPlace:
    """Return a policy at a point: parameters go into its text, unless it is the topology's own."""
    overrides: list[Override] = []
    parameters: dict[str, str] = {}
    words: list[str] = []
    known = parameter_names(parse_policy(spec.text)[0]) if spec.text else ()
    for axis, value in zip(axes, point.values, strict=True):
        if axis.parameter is None or not spec.text:
            overrides.append(Override(axis.key, value))
        elif axis.parameter in known:
            parameters[axis.parameter] = value
        else:
            continue
        words.append(f"{axis.key}={value}")
    return PolicyPlace(tuple(overrides), with_parameters(spec, parameters), tuple(words))


def with_parameters(spec: PolicySpec, parameters: Mapping[str, str]) -> PolicySpec:
    """Return a policy with these parameters, which replace its own of the same names."""
    if not parameters:
        return spec
    name, stated = parse_policy(spec.text)
    kept = {key: _text(value) for key, value in stated.items()}
    listed = ",".join(f"{key}={value}" for key, value in {**kept, **parameters}.items())
    return replace(spec, text=f"{name}:{listed}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_parameters(axes: Sequence[KeyAxis], specs: Sequence[PolicySpec]) -> None:
    """Raise InputError if no policy has a parameter that is swept."""
    if not specs[0].text:
        return
    for axis in axes:
        known = {name for spec in specs for name in parameter_names(parse_policy(spec.text)[0])}
        if axis.parameter is not None and axis.parameter not in known:
            listed = ", ".join(spec.label for spec in specs)
            raise InputError(
                f"{axis.key}: none of {listed} has a parameter {axis.parameter!r}",
                hint=f"they have {', '.join(sorted(known))}" if known else "they have no parameters",
            )


def plan_sweep(
    topology: Path,
    axes: Sequence[KeyAxis],
    points: Sequence[DesignPoint],
    specs: Sequence[PolicySpec],
    options: Options,
) -> "Planned":
    """Plan a run at every point, so that errors precede all runs.

    Raises:
        InputError: topology, policies, values or options cannot be used; the message names the value.
    """
    check_parameters(axes, specs)
    settings: dict[tuple[Override, ...], RunSettings] = {}
    checked: set[str] = set()
    first: Plan | None = None
    for point in points:
        for spec in specs:
            place = place_of(axes, point, spec)
            if place.overrides in settings and place.spec.text in checked:
                continue
            plan = check_plans(topology, [place.spec], options, *place.overrides)
            settings[place.overrides] = settings_of(topology, plan, options)
            checked.add(place.spec.text)
            first = first or plan
    assert first is not None
    if not specs[0].text:
        specs = (replace(OWN, label=first.scenario.policy.label, folder=_folder(first.scenario.policy.label)),)
    return Planned(first, tuple(specs), tuple(points), settings)


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of the first run, policies with their labels, points, and the settings by what replaces values."""

    first: Plan
    specs: tuple[PolicySpec, ...]
    points: tuple[DesignPoint, ...]
    settings: Mapping[tuple[Override, ...], RunSettings]

    def lay_out(self, axes: Sequence[KeyAxis], seeds: Sequence[int], directory: Path) -> SweepPlan:
        """Return all runs, in directories by values, policy and seed.

        They go repeat by repeat, so that an interrupted sweep has all points. The order rotates from repeat to repeat,
        so that a machine that slows down over time favours none.

        Raises:
            InputError: they are too many.
        """
        by_path: dict[Path, Cell] = {}
        cells_at: dict[tuple[int, str], list[Cell]] = {}
        places = [
            (number, spec.label, place_of(axes, point, spec))
            for number, point in enumerate(self.points)
            for spec in self.specs
        ]
        folders = dict(_folders(place.words for _, _, place in places))
        for repeat, seed in enumerate(seeds):
            turn = repeat % len(places)
            for number, label, place in (*places[turn:], *places[:turn]):
                folder = directory / folders[place.words] if place.words else directory
                path = folder / place.spec.folder / f"seed-{seed}"
                if path not in by_path:
                    words = ", ".join(place.words)
                    by_path[path] = Cell(place.spec, repeat, seed, path, self.settings[place.overrides], words)
                cells_at.setdefault((number, label), []).append(by_path[path])
        if len(by_path) > MAX_RUNS:
            raise InputError(f"{len(by_path)} runs cannot be carried out", hint=f"{MAX_RUNS} at most")
        return SweepPlan(
            self.first, self.specs, self.points, tuple(by_path.values()),
            {at: tuple(cells) for at, cells in cells_at.items()},
        )  # fmt: skip


def _folders(all_words: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """A folder for each list of values; those that would be equal have marks."""
    taken: dict[str, tuple[str, ...]] = {}
    for words in dict.fromkeys(all_words):
        folder = _folder("_".join(words))
        if taken.setdefault(folder, words) != words:
            folder = f"{folder}-{_mark(words)}"
        yield words, folder


def _folder(text: str) -> str:
    safe = folder_name(text.replace(" ", ""))
    if safe and len(safe) <= MOST_FOLDER_CHARACTERS:
        return safe
    return f"{safe[: MOST_FOLDER_CHARACTERS - 7]}-{_mark((text,))}".lstrip("-")


def _mark(words: tuple[str, ...]) -> str:
    return sha256("\0".join(words).encode(errors="surrogatepass")).hexdigest()[:6]
