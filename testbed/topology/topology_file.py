"""Read topology.yaml, check it, and resolve it into a scenario; report all problems at once, each with its place."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node_agent.core.config import Draws
from node_agent.errors import InputError
from testbed.scenario import PolicyChoice, Scenario
from testbed.topology.choices import anchored, policy_problem, read_policy
from testbed.topology.compiler import Compiler
from testbed.topology.followers import TraceFiles
from testbed.topology.form.draft import Draft, read_form
from testbed.topology.form.entries import TopologyDocument
from testbed.topology.form.values import MAX_PATH_CHARACTERS, MAX_POLICY_CHARACTERS
from testbed.topology.form.yaml_places import MAX_BYTES, TopologyProblem, YamlError
from testbed.topology.model_choice import with_other_model
from testbed.topology.overrides import Override, as_overrides, placed, replaced
from testbed.trace.files import opened

_MAX_SHOWN = 50


class TopologyError(InputError):
    """A topology that cannot be used; `problems` lists everything that is wrong, in the order of the file."""

    def __init__(self, problems: Sequence[TopologyProblem]) -> None:
        self.problems = tuple(
            sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.message))
        )
        if len(self.problems) == 1:
            super().__init__(str(self.problems[0]), hint=self.problems[0].hint)
            return
        sources = ", ".join(dict.fromkeys(problem.source for problem in reversed(self.problems)))
        lines = [f"{len(self.problems)} problems in {sources}"]
        for problem in self.problems[:_MAX_SHOWN]:
            lines.append(f"{problem}\n    hint: {problem.hint}" if problem.hint else str(problem))
        if len(self.problems) > _MAX_SHOWN:
            lines.append(f"… and {len(self.problems) - _MAX_SHOWN} more")
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Topology:
    """A topology file that passed every check.

    Attributes:
        source: the file's name in messages.
        text: the text that holds: the file's, or with its values replaced by `overrides`.
        original_text: the file as it was read.
        overrides: what replaced values of the file.
        folder: absolute path; paths in the file are relative to it.
        document: the checked form, with every quantity in its base unit.
    """

    source: str
    text: str
    original_text: str
    overrides: tuple[Override, ...]
    folder: str
    document: TopologyDocument
    _draft: Draft
    _policy: PolicyChoice  # the policy with which the file was checked
    _files: TraceFiles
    _recorded: bool = False

    @property
    def traces(self) -> Mapping[str, bytes]:
        """The content of the network traces' files, by their path as the topology states it."""
        return dict(self._files.contents)

    def resolve(
        self, *, seed: int | None = None, duration_s: float | None = None, policy: str | None = None
    ) -> Scenario:
        """Draw every range and return the scenario; the arguments replace what the file states.

        Args:
            seed: draws every range and the workload, 0 to 2^63 - 1.
            duration_s: length of the run [s], above 0.
            policy: a text as `choices.read_policy` takes it, with paths relative to the working directory. The
                parameters of the file apply only to the file's own policy, and only if `policy` states none.

        Raises:
            TopologyError: the file does not suit the new duration, for example an event lies after the end.
            InputError: an argument is impossible.
        """
        chosen = self._policy
        if policy is not None:
            chosen = _asked_policy(policy, self.document, self.folder, recorded=self._recorded)
        if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
            raise InputError(f"the duration must be above zero, not {duration_s}", hint="for example 60 s")
        if seed is not None and not 0 <= seed < 2**63:
            raise InputError(f"the seed must be between 0 and 2^63 - 1, not {seed}", hint="for example 1")
        scenario, problems = _compile(
            self._draft, self.source, self._files, chosen, self._recorded, seed=seed, duration_s=duration_s
        )
        if scenario is None:
            raise _error(problems, self.overrides)
        return scenario


def load_topology(
    path: Path | str,
    *,
    folder: str | None = None,
    policy: str | None = None,
    model: str | None = None,
    cut: Sequence[int] | None = None,
    criterion: str | None = None,
    draws: Draws | None = None,
    overrides: Sequence[Override | str] = (),
    traces: Mapping[str, Path] | None = None,
    recorded: bool = False,
) -> Topology:
    """Read and check a topology file, and return it.

    Args:
        path: the file.
        folder: paths in the file are relative to it; None means the file's own folder.
        policy: replaces the file's policy, as in `Topology.resolve`; the file's policy is then not checked or loaded.
        model: replaces the file's model: a shipped name, or the path of a bundle, of FILE.py:CLASS or of a table.
        cut: replaces the cut; see `model_choice.with_other_model`.
        criterion: replaces the exit criterion, by name.
        draws: replaces `draws`, for a file of a version that had no such key.
        overrides: what replaces values of the file, in order; texts are KEY=VALUE.
        traces: files to read instead of network traces, by path as the topology states it.
        recorded: True for the file of a recorded run, which may state what only earlier versions allowed.

    Raises:
        TopologyError: the topology has faults; it lists all of them.
        InputError: the file cannot be read, or `policy`, `model`, `cut`, `criterion` or an override is
            invalid.
    """
    with opened(path, hint="give the path of a topology.yaml") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        problem = TopologyProblem(str(path), 1, 1, f"longer than {MAX_BYTES >> 20} MiB", "use groups (count: 50)")
        raise TopologyError([problem])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise TopologyError([TopologyProblem(str(path), line, column, "not UTF-8 text", "save it as UTF-8")]) from None
    own_folder = os.path.dirname(os.path.abspath(path))
    folder = own_folder if folder is None else folder
    return load_topology_text(
        text, str(path), folder=folder, policy=policy, model=model, cut=cut, criterion=criterion, draws=draws,
        overrides=overrides, traces=traces, recorded=recorded,
    )  # fmt: skip


def load_topology_text(
    text: str,
    source: str = "topology.yaml",
    *,
    folder: str = "",
    policy: str | None = None,
    model: str | None = None,
    cut: Sequence[int] | None = None,
    criterion: str | None = None,
    draws: Draws | None = None,
    overrides: Sequence[Override | str] = (),
    traces: Mapping[str, Path] | None = None,
    recorded: bool = False,
) -> Topology:
    """Check a topology's text; `source` names it in messages.

    Paths in the text are relative to `folder`, or to the working directory. Other arguments are as in `load_topology`.

    Raises:
        TopologyError: the topology has faults; it lists all of them.
        InputError: `policy`, `model`, `cut`, `criterion` or an override is invalid.
    """
    folder, replacing = os.path.abspath(folder), as_overrides(overrides)
    try:
        read = replaced(text, source, replacing)
    except YamlError as error:
        raise TopologyError([error.problem]) from None
    draft = read_form(read.data, read.place, source)
    problems = [*read.problems, *draft.problems]
    if draft.document is None:
        raise _error(problems, replacing)
    document = draft.document
    if (model, cut, criterion) != (None, None, None) and "model" not in draft.damaged:
        other = with_other_model(document.model, folder, model, cut, criterion)
        document = draft.document = document.model_copy(update={"model": other})
    if draws is not None:
        document = draft.document = document.model_copy(update={"draws": draws})
    chosen = _stated_policy(document, folder)
    if policy is not None:
        chosen = _asked_policy(policy, document, folder, recorded=recorded)
    files = TraceFiles(folder, traces or {})
    _, found = _compile(draft, source, files, chosen, recorded)
    problems += found
    if problems:
        raise _error(problems, replacing)
    return Topology(source, read.text, text, replacing, folder, document, draft, chosen, files, recorded)


def _error(problems: Sequence[TopologyProblem], overrides: Sequence[Override]) -> TopologyError:
    return TopologyError([placed(problem, overrides) for problem in problems])


def resolve_text(text: str, source: str = "topology.yaml", *, seed: int | None = None) -> Scenario:
    """Check a topology's text and return its scenario, with its own duration and policy; `seed` replaces its seed.

    Raises:
        TopologyError: the topology has faults; it lists all of them.
        InputError: the seed lies outside 0 to 2^63 - 1.
    """
    return load_topology_text(text, source).resolve(seed=seed)


def topology_json_schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of topology.yaml for editors; it does not check references between entries."""
    schema = TopologyDocument.model_json_schema(by_alias=True)
    properties, entry = schema["properties"], schema["$defs"]["PolicyEntry"]["properties"]
    entry["name"] = _policy_names(entry["name"])
    # A policy may be one text; the reader turns that into the full form.
    text = _policy_names({"type": "string", "minLength": 1, "maxLength": MAX_POLICY_CHARACTERS})
    properties["policy"] = {
        "anyOf": [*text["anyOf"], properties["policy"]],
        "description": "offloading policy: NAME, NAME:key=value,key=value, or FILE.py:CLASS with a path relative to "
        "this topology's folder; or a mapping of name, label and parameters",
    }
    cost = schema["$defs"]["ModelEntry"]["properties"]["cost"]
    schema["$defs"]["CostEntry"]["properties"]["name"] = _cost_names(schema["$defs"]["CostEntry"]["properties"]["name"])
    described = {"description": cost["description"]}
    cost |= {"anyOf": [*_cost_names({"type": "string", "minLength": 1})["anyOf"], *cost["anyOf"]], **described}
    # A file alone may stand for the whole entry of a trace, too.
    one_trace = [{"type": "string", "minLength": 1, "maxLength": MAX_PATH_CHARACTERS}, {"$ref": "#/$defs/TraceEntry"}]
    traced, pair = (schema["$defs"][form]["properties"] for form in ("TracedLinkEntry", "TracePair"))
    for place, forms in ((traced, [*one_trace, {"$ref": "#/$defs/TracePair"}]), (pair, one_trace)):
        for key in place.keys() & {"trace", "up", "down"}:
            place[key] = {"anyOf": forms, "description": place[key]["description"]}
    tidy = _tidied(schema)
    assert isinstance(tidy, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **tidy}


def _policy_names(text: dict[str, Any]) -> dict[str, Any]:
    """Add the policies' names and descriptions, which editors offer, to the schema of a text that may be a name."""
    from node_agent.policies import policy_lines  # noqa: PLC0415 - loads numpy

    offered = [{"const": name, "description": line} for name, line in policy_lines().items()]
    described = {"description": text.pop("description")} if "description" in text else {}
    return {"anyOf": [*offered, text], **described}


def _cost_names(text: dict[str, Any]) -> dict[str, Any]:
    """Add the names of the published architectures, which editors offer, to the schema of a text."""
    from node_agent.models.published import available_costs, published  # noqa: PLC0415 - loads numpy

    offered = [{"const": name, "description": published(name).title} for name in available_costs()]
    described = {"description": text.pop("description")} if "description" in text else {}
    return {"anyOf": [*offered, text], **described}


def topology_json_schema_text() -> str:
    """Return the JSON Schema as the text of `topologies/topology.schema.json`."""
    return json.dumps(topology_json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidied(schema: object) -> object:
    """Remove what misleads editors: pydantic's titles, nulls of optional keys, and defaults in base units.

    An optional key may be left out, but not be empty. Descriptions state defaults as people write them.
    """
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidied(value) for key, value in schema.items() if key != "title"}
    variants = tidy.get("anyOf")
    if isinstance(variants, list) and {"type": "null"} in variants:
        variants = [variant for variant in variants if variant != {"type": "null"}]
        del tidy["anyOf"]
        tidy = {**variants[0], **tidy} if len(variants) == 1 else {"anyOf": variants, **tidy}
    is_quantity = tidy.get("type") == "string" and not isinstance(tidy.get("default"), str)
    if "default" in tidy and (is_quantity or tidy["default"] is None):
        del tidy["default"]
    return tidy


def _stated_policy(document: TopologyDocument, folder: str) -> PolicyChoice:
    stated = document.policy
    return PolicyChoice(anchored(stated.name, folder), dict(stated.parameters), stated.label)


def _asked_policy(text: str, document: TopologyDocument, folder: str, *, recorded: bool) -> PolicyChoice:
    """Return the policy that `text` names.

    If it names the file's own policy and states no parameters, the file's parameters and label apply.

    Raises:
        InputError: there is no such policy, or it does not take these parameters.
    """
    asked, stated = read_policy(text, os.getcwd()), _stated_policy(document, folder)
    chosen = asked
    if asked.name == stated.name and not asked.parameters:
        chosen = replace(stated, stated_label=asked.stated_label or stated.stated_label)
    if (found := policy_problem(chosen, recorded=recorded)) is not None:
        raise InputError(found[1], hint=found[2])
    return chosen


def _compile(
    draft: Draft,
    source: str,
    files: TraceFiles,
    policy: PolicyChoice,
    recorded: bool,
    *,
    seed: int | None = None,
    duration_s: float | None = None,
) -> tuple[Scenario | None, list[TopologyProblem]]:
    document = draft.document
    assert document is not None
    compiler = Compiler(
        draft,
        source,
        files,
        seed=document.seed if seed is None else seed,
        duration_s=document.duration if duration_s is None else duration_s,
        policy=policy,
        recorded=recorded,
    )
    return compiler.compile(), compiler.problems
