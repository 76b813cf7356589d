"""The form of topology.yaml: one pydantic model per entry; what an entry refers to is checked in `compiler`.

Unknown keys are errors everywhere, and nothing is coerced: `count: "6"` is refused.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from node_agent.errors import InputError
from testbed.scenario import ArrivalProcess, ComputeMode
from testbed.topology.event_kinds.registry import AnyTimedEntry
from testbed.topology.form.link_entries import AnyLink
from testbed.topology.form.values import (
    MAX_PATH_CHARACTERS,
    MAX_POLICY_CHARACTERS,
    STATED,
    At,
    ComputeSpan,
    Count,
    Entry,
    Instant,
    Memory,
    Name,
    NameList,
    Parameter,
    Period,
    SafeText,
    TaskRateSpan,
    Worth,
    complaint,
)


def _as_policy(value: object) -> object:
    if not isinstance(value, str):
        return value
    from node_agent.policies import parse_policy  # noqa: PLC0415 - loads numpy

    try:
        name, parameters = parse_policy(value)
    except InputError as error:
        raise complaint(str(error), error.hint) from None
    label = parameters.pop("label", None)
    return {"name": name, "parameters": parameters} | ({} if label is None else {"label": label})


class ModelEntry(Entry):
    """Which early-exit model runs, and after which of its blocks it is cut into sub-models."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PATH_CHARACTERS,
            description="as `model list` shows it, or a bundle's folder, from this topology's folder",
        ),
        SafeText,
    ]
    cut: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(min_length=1, max_length=64, description="last block of each sub-model, rising; one per stage"),
    ]
    activation: Annotated[Literal["float32", "float16"], Field(description="how activations travel between stages")] = (
        "float32"
    )


class PolicyEntry(Entry):
    """Which offloading policy decides, with its parameters."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=MAX_POLICY_CHARACTERS, description="a name, or file.py:Class from this folder"),
        SafeText,
    ]
    label: Annotated[
        str | None,
        STATED,
        Field(min_length=1, max_length=64, description="how results call it (default: its name)"),
        SafeText,
    ] = None
    parameters: Annotated[
        dict[str, Parameter], Field(description="numbers, true or false, words, or quantities such as 2 s")
    ] = Field(default_factory=dict)


class DeviceEntry(Entry):
    """End devices: each offers tasks at its own mean rate."""

    count: Annotated[Count | None, STATED] = None
    rate: Annotated[TaskRateSpan, Field(description="mean task rate of one device; a range is drawn per device")]


class ServerEntry(Entry):
    """Edge servers that host the sub-model of their stage; stage 1 is nearest to the devices."""

    count: Annotated[Count | None, STATED] = None
    stage: Annotated[int, Field(ge=1, le=64, description="which sub-model it hosts, from 1")]
    capacity: Annotated[ComputeSpan, Field(description="compute capacity of one server; a range is drawn per server")]
    memory: Annotated[Memory | None, STATED, Field(description="memory limit of one server")] = None


class TopologyDocument(Entry):
    """An experiment: model, policy, nodes, the network between them, and what happens to it."""

    name: Annotated[Name, Field(description="names the run directory")]
    model: ModelEntry
    policy: Annotated[PolicyEntry, BeforeValidator(_as_policy)]
    theta: Annotated[Worth, Field(description="mean delay that 100 points of accuracy are worth (default 2 s)")] = 2.0
    slot: Annotated[
        Period, Field(description="time between two decisions of the policy (default 5 s, or the whole run)")
    ] = 5.0
    duration: Annotated[Period, Field(description="how long tasks arrive (default 60 s)")] = 60.0
    warm_up: Annotated[At, Field(description="tasks made before this count in no figure (default 10 %)")] = Instant(
        0.1, relative=True
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="draws every range and the workload")] = 1
    time_scale: Annotated[
        float, Field(ge=0.01, le=1000, description="2 runs everything at half speed; results keep emulated time")
    ] = 1.0
    compute: Annotated[ComputeMode, Field(description="paced: timed by work / capacity; quota: cgroup limit")] = "paced"
    arrivals: Annotated[ArrivalProcess, Field(description="process of the generated workload")] = "poisson"
    devices: Annotated[dict[Name, DeviceEntry], Field(min_length=1)]
    servers: Annotated[dict[Name, ServerEntry], Field(min_length=1)]
    switches: list[Name] = Field(default_factory=list)
    links: Annotated[list[AnyLink], Field(min_length=1)]
    offload: Annotated[
        dict[Name, NameList],
        Field(description="who may offload to whom; by default every server of the next stage that is joined"),
    ] = Field(default_factory=dict)
    events: list[AnyTimedEntry] = Field(default_factory=list)
