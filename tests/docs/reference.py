"""The blocks of fields in the pages under docs/, rendered from the classes that hold the fields."""

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from node_agent import wire
from node_agent.models.networks.early_exit import Recipe
from node_agent.records import DecisionRecord, EventRecord, SampleRecord
from testbed.agree.agreement import Agreement, Repeat
from testbed.agree.decisions import Apart, Decisions, NodeDecisions
from testbed.agree.resampling import ComparedFigure, Single
from testbed.assertions import Finding
from testbed.cells.intervals import Estimate
from testbed.compare.recovery import Recovery
from testbed.compare.result import Comparison, PolicyRecoveries
from testbed.compare.table import Advantage, PolicyFigures, RunRow
from testbed.energy.energy_line import EnergyLine
from testbed.record.run_figures import FIGURES
from testbed.record.task_line import HopLine, TaskLine
from testbed.sweep.sweep_result import FailedRun, Sweep, SweepPoint, SweepRow, SweptKey
from testbed.trace.workload import Arrival
from tests.bench.markdown import table
from tests.docs import command_options, cost_table, decisions, energy_tables, topology_keys
from tests.docs.field_docs import FieldDoc, field_docs, sections

HEAD = ("field", "type", "unit", "meaning")
MESSAGES: tuple[type[Any], ...] = get_args(wire.Message)
PARTS: tuple[type[Any], ...] = (wire.TensorForm, wire.Affine, wire.ExitAnswer, wire.Hop, wire.Handover)
OVERLOADED = FieldDoc("overloaded", "true or false", "", "true if any of its runs was overloaded")


def message_fields(cls: type[Any]) -> list[str]:
    """The table of a message's fields, with the bounds that `decode` checks."""
    return table(HEAD, map(_row, field_docs(cls, bounds=True)))


def _row(one: FieldDoc) -> tuple[str, str, str, str]:
    meaning = one.meaning.removesuffix(".").replace("|", "\\|")
    return f"`{one.name}`", one.type, one.unit, meaning


def kinds() -> list[str]:
    """The kinds of events, by who causes or notices them."""
    lines: list[str] = []
    for head, items in sections(EventRecord.__doc__ or "").items():
        rows = ((f"`{name}`", text.removesuffix(".")) for name, text in items.items())
        lines += ["", f"{head}:", "", *table(("kind", "meaning"), rows)]
    return [*lines, ""]


def short_names() -> list[str]:
    """The figures of a run by short name."""
    rows = ((f"`{each.name}`", f"`{each.path}`", each.kind, each.title) for each in FIGURES)
    return table(("short name", "path", "kind", "figure"), rows)


def source(cls: type[Any]) -> str:
    """The module of a class, as a block names it."""
    return f"{cls.__module__.replace('.', '/')}.py, {cls.__name__}"


FILES: dict[str, type[Any]] = {
    "trace.jsonl": Arrival,
    "tasks.jsonl": TaskLine,
    "tasks.jsonl.hops": HopLine,
    "decisions.jsonl": DecisionRecord,
    "timeseries.jsonl": SampleRecord,
    "energy.jsonl": EnergyLine,
    "events.jsonl": EventRecord,
    "summary.json.assertions": Finding,
    "compare.json": Comparison,
    "compare.json.rows": RunRow,
    "compare.json.table": PolicyFigures,
    "compare.json.estimate": Estimate,
    "compare.json.first_ahead_by": Advantage,
    "compare.json.recoveries": PolicyRecoveries,
    "compare.json.recoveries.events": Recovery,
    "sweep.json": Sweep,
    "sweep.json.keys": SweptKey,
    "sweep.json.points": SweepPoint,
    "sweep.json.rows": SweepRow,
    "sweep.json.failed": FailedRun,
    "agree.json": Agreement,
    "agree.json.repeats": Repeat,
    "agree.json.figures": ComparedFigure,
    "agree.json.decisions": Decisions,
    "agree.json.decisions.nodes": NodeDecisions,
    "agree.json.decisions.apart": Apart,
    "agree.json.decisions.single": Single,
}
"""The classes behind the blocks of docs/run-directory.md."""

MORE: dict[type[Any], tuple[FieldDoc, ...]] = {
    Comparison: (
        FieldDoc("schema", "int", "", "version of this format, 1"),
        FieldDoc("kind", '"dtoee-comparison"', "", "the kind of the file"),
    ),
    Sweep: (
        FieldDoc("schema", "int", "", "version of this format, 1"),
        FieldDoc("kind", '"dtoee-sweep"', "", "the kind of the file"),
    ),
    Agreement: (
        FieldDoc("schema", "int", "", "version of this format, 1"),
        FieldDoc("kind", '"dtoee-agreement"', "", "the kind of the file"),
    ),
    PolicyFigures: (OVERLOADED,),
}
"""Fields that a file adds to those of its class."""

LEFT_OUT = {Comparison: "directory", Sweep: "directory", Agreement: "directory"}
"""A field that a class has and its file does not."""


def file_fields(cls: type[Any]) -> list[str]:
    """The table of the fields that a file of this class has."""
    found = [one for one in field_docs(cls) if one.name != LEFT_OUT.get(cls)]
    return table(HEAD, map(_row, (*MORE.get(cls, ()), *found)))


REFERENCE: dict[str, tuple[str, Callable[[], list[str]]]] = {
    **{name: (source(cls), partial(file_fields, cls)) for name, cls in FILES.items()},
    "events.jsonl.kinds": (source(EventRecord), kinds),
    **{f"wire.{cls.__name__}": (source(cls), partial(message_fields, cls)) for cls in (*MESSAGES, *PARTS)},
    "topology-keys": ("topologies/topology.schema.json", topology_keys.keys),
    "Recipe": (source(Recipe), partial(file_fields, Recipe)),
    "architectures": ("node_agent/models/published", cost_table.architectures),
    "power-profiles": ("testbed/topology/form/power_profiles.py", energy_tables.powers),
    "radio-profiles": ("testbed/topology/form/power_profiles.py", energy_tables.radios),
    "short-names": ("testbed/record/run_figures.py, FIGURES", short_names),
    "units": ("testbed/units.py", topology_keys.dimensions),
    "commands": ("the command line's own help", command_options.options),
    "decisions": ("the pages of this folder", decisions.listed),
}
"""For each block: the code that it is rendered from, and the function that returns its lines."""
