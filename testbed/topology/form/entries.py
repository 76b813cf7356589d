"""The form of topology.yaml: one pydantic model per entry; `compiler` checks the references between entries.

Unknown keys are errors everywhere, and nothing is coerced: `count: "6"` is refused. Descriptions go into the JSON
Schema, which editors show: meaning, unit, default.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field

from node_agent.core.config import Draws
from node_agent.errors import InputError
from testbed.scenario import ComputeMode, UtilityOf
from testbed.topology.event_kinds.registry import AnyTimedEntry
from testbed.topology.form.arrival_entries import Arrivals
from testbed.topology.form.link_entries import AnyLink
from testbed.topology.form.model_entries import ModelEntry
from testbed.topology.form.power_entries import AnyPower, offer_power_profiles
from testbed.topology.form.values import (
    MAX_POLICY_CHARACTERS,
    STATED,
    At,
    Battery,
    ComputeSpan,
    Count,
    EnergyPrice,
    Entry,
    FirstStage,
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
from testbed.trace.processes.poisson import Poisson


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


class PolicyEntry(Entry):
    """The offloading policy and its parameters."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_POLICY_CHARACTERS,
            description="name of the policy, or FILE.py:CLASS with a path relative to this topology's folder",
        ),
        SafeText,
    ]
    label: Annotated[
        str | None,
        STATED,
        Field(
            min_length=1,
            max_length=64,
            description="name of the policy in results (default: its name, or the class if it comes from a file)",
        ),
        SafeText,
    ] = None
    parameters: Annotated[
        dict[str, Parameter],
        Field(
            description="parameters of the policy: numbers, true or false, words, or quantities such as 2 s (default: "
            "the policy's own values)"
        ),
    ] = Field(default_factory=dict)


class DeviceEntry(Entry):
    """A device, or a group of devices; each offers tasks at its own mean rate, and may run stage 1 itself."""

    count: Annotated[Count | None, STATED] = None
    rate: Annotated[
        TaskRateSpan, Field(description="mean rate at which each device offers tasks; a range is drawn per device")
    ]
    runs: Annotated[
        FirstStage | None,
        STATED,
        Field(
            description="1: each device also runs stage 1 on its own processor, the server NAME-cpu, in a group "
            "NAME-cpu-1 to NAME-cpu-count (default: devices only offer tasks)"
        ),
    ] = None
    capacity: Annotated[
        ComputeSpan | None,
        STATED,
        Field(
            description="compute capacity of each device's own processor; only, and always, with runs; a range is "
            "drawn per device"
        ),
    ] = None
    memory: Annotated[
        Memory | None,
        STATED,
        Field(description="memory of each device's own processor, as for servers; only with runs (default: no limit)"),
    ] = None
    delay_bound: Annotated[
        Period | None,
        STATED,
        Field(
            description="longest delay that a device admits: it refuses a task whose predicted delay exceeds the bound "
            "(default: it refuses none)"
        ),
    ] = None
    deadline: Annotated[
        Period | None,
        STATED,
        Field(
            description="delay up to which a result is in time; it changes no decision, only the figures (default: "
            "no deadline)"
        ),
    ] = None
    power: Annotated[
        AnyPower | None,
        STATED,
        Field(
            description="power of each device: a profile, or {idle: …, busy: …} (default: its energy is not counted); "
            "busy is that of the whole device while its own processor serves a task",
            json_schema_extra=offer_power_profiles,
        ),
    ] = None
    battery: Annotated[
        Battery | None,
        STATED,
        Field(
            description="energy of each device's battery, only with power: when it is used up, the device leaves the "
            "network; a range is drawn per device (default: no battery)"
        ),
    ] = None


class ServerEntry(Entry):
    """A server, or a group of servers, that hosts the sub-model of its stage; stage 1 is nearest to the devices."""

    count: Annotated[Count | None, STATED] = None
    stage: Annotated[int, Field(ge=1, le=64, description="stage whose sub-model each server hosts, from 1")]
    capacity: Annotated[ComputeSpan, Field(description="compute capacity of each server; a range is drawn per server")]
    memory: Annotated[
        Memory | None,
        STATED,
        Field(
            description="memory of each server, which must hold its sub-model; with compute: quota also the limit of "
            "the process that computes (default: no limit)"
        ),
    ] = None
    power: Annotated[
        AnyPower | None,
        STATED,
        Field(
            description="power of each server: a profile, or {idle: …, busy: …} (default: its energy is not counted)",
            json_schema_extra=offer_power_profiles,
        ),
    ] = None


class TopologyDocument(Entry):
    """An experiment: model, policy, nodes, the network between them, and timed events."""

    name: Annotated[Name, Field(description="name of the experiment, part of the run directory's name")]
    model: ModelEntry
    policy: Annotated[PolicyEntry, BeforeValidator(_as_policy)]
    theta: Annotated[
        Worth,
        Field(
            description="mean delay that 100 points of accuracy are worth: utility = theta * accuracy - mean delay "
            "(default 2 s)"
        ),
    ] = 2.0
    energy_price: Annotated[
        EnergyPrice,
        Field(
            description="mean delay that one joule per task is worth: the utility falls by energy_price * energy per "
            "task, and dto-ee prices energy (default 0 s/J: energy is counted, but not priced)"
        ),
    ] = 0.0
    utility: Annotated[
        UtilityOf,
        Field(
            description="right answers that the utility of a summary counts: all (accuracy, default), or only those in "
            "time (deadlines): theta * share of all tasks with a right answer in time - mean delay"
        ),
    ] = "accuracy"
    draws: Annotated[
        Draws,
        Field(
            description="how the tasks of an offloader follow its row of probabilities: smooth (default) spreads them "
            "evenly; random draws the receiver of each task by chance"
        ),
    ] = "smooth"
    slot: Annotated[
        Period,
        Field(description="emulated time between two decisions of the policy (default 5 s, or a shorter duration)"),
    ] = 5.0
    duration: Annotated[Period, Field(description="emulated time during which tasks arrive (default 60 s)")] = 60.0
    warm_up: Annotated[
        At,
        Field(
            description="emulated time, or % of the duration; figures leave out tasks created before it (default 10 %)"
        ),
    ] = Instant(0.1, relative=True)
    seed: Annotated[
        int, Field(ge=0, le=2**63 - 1, description="seed that draws every range and the workload (default 1)")
    ] = 1
    time_scale: Annotated[
        float,
        Field(
            ge=0.01,
            le=1000,
            description="real seconds per emulated second (default 1); 2 runs at half speed, and results stay in "
            "emulated time",
        ),
    ] = 1.0
    compute: Annotated[
        ComputeMode,
        Field(
            description="how capacities are enforced: paced (default) holds each result until work / capacity has "
            "passed; quota limits CPU time by a control group"
        ),
    ] = "paced"
    arrivals: Annotated[
        Arrivals,
        Field(
            description="arrival process of the generated workload: poisson (default), bursty, diurnal, flash-crowd, "
            "ramp or mmpp; or a map with its name at process and its parameters"
        ),
    ] = Field(default_factory=Poisson, json_schema_extra={"default": "poisson"})
    devices: Annotated[dict[Name, DeviceEntry], Field(min_length=1, description="devices, by name of device or group")]
    servers: Annotated[dict[Name, ServerEntry], Field(min_length=1, description="servers, by name of server or group")]
    switches: Annotated[list[Name], Field(description="names of switches, which forward frames (default: none)")] = (
        Field(default_factory=list)
    )
    links: Annotated[
        list[AnyLink],
        Field(
            min_length=1,
            description="links between nodes and switches; an entry that names single nodes overrides an earlier one "
            "that names their groups",
        ),
    ]
    offload: Annotated[
        dict[Name, NameList],
        Field(
            description="receivers of each offloader (device, server, or group); by default every server of the next "
            "stage that a link or switches join to it. The list of a device with runs names servers of stage 2, to "
            "which its own processor hands on, and may name servers of stage 1"
        ),
    ] = Field(default_factory=dict)
    events: Annotated[list[AnyTimedEntry], Field(description="timed changes during the run (default: none)")] = Field(
        default_factory=list
    )
