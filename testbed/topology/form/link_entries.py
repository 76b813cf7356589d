"""The form of a topology's links: plain links, and links that follow a network trace."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from testbed.topology.form.power_entries import AnyLinkEnergy, offer_radio_profiles
from testbed.topology.form.values import (
    MAX_PATH_CHARACTERS,
    STATED,
    BitRateSpan,
    Ends,
    Entry,
    SafeText,
    ShareSpan,
    Step,
    TimeSpan,
)
from testbed.units import Span

QueueLength = Annotated[
    int,
    Field(ge=1, le=1_000_000, description="frames that may wait for transmission, in each direction (default 1000)"),
]


def _as_trace(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class TraceEntry(Entry):
    """A recorded network trace that links follow, in both directions alike or in one."""

    file: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PATH_CHARACTERS,
            description="path of the trace, relative to this topology's folder",
        ),
        SafeText,
    ]
    format: Annotated[
        Literal["mahimahi", "csv"] | None,
        STATED,
        Field(description="format of the file (default: by its name or content)"),
    ] = None
    every: Annotated[
        Step | None,
        STATED,
        Field(
            description="length of the steps over which the trace is averaged, whole milliseconds, 10 ms or more "
            "(default: 100 ms for mahimahi, the rows of a csv)"
        ),
    ] = None
    offset: Annotated[
        TimeSpan, Field(description="time in the trace when the run begins; a range is drawn per link (default 0 s)")
    ] = Span(0.0, 0.0)
    repeat: Annotated[
        bool, Field(description="true (default): start again at the end of the trace; false: its last step holds")
    ] = True
    scale: Annotated[float, Field(gt=0, le=1e6, description="factor on the trace's rates (default 1)")] = 1.0


OneTrace = Annotated[TraceEntry, BeforeValidator(_as_trace)]


class TracePair(Entry):
    """Two recorded network traces, one for each direction of links."""

    up: Annotated[OneTrace, Field(description="trace of the frames that the `from` end sends: its file, or a mapping")]
    down: Annotated[OneTrace, Field(description="trace of the frames that the `to` end sends: its file, or a mapping")]


def _trace_kind(value: Any) -> str:  # noqa: ANN401 - pydantic hands in the raw value
    """Return the tag of the form that a raw `trace` means, in parentheses like the tags of events."""
    pair = isinstance(value, TracePair) or (isinstance(value, dict) and not {"up", "down"}.isdisjoint(value))
    return "(TracePair)" if pair else "(TraceEntry)"


AnyTrace = Annotated[
    Annotated[OneTrace, Tag("(TraceEntry)")] | Annotated[TracePair, Tag("(TracePair)")], Discriminator(_trace_kind)
]


class AnyLinkEntry(Entry):
    """The keys that all entries of links share."""

    from_: Annotated[Ends, Field(alias="from", description="first end: a node, a switch, a group, or a list of them")]
    to: Annotated[Ends, Field(description="second end: a node, a switch, a group, or a list of them")]
    rate: BitRateSpan | None
    delay: TimeSpan | None
    jitter: Annotated[
        TimeSpan,
        Field(
            description="standard deviation of the delay, at most the delay; ranges are drawn per link (default 0 s)"
        ),
    ] = Span(0.0, 0.0)
    loss: Annotated[
        ShareSpan,
        Field(description="share of frames that are dropped, below 100 %; a range is drawn per link (default 0 %)"),
    ] = Span(0.0, 0.0)
    queue: QueueLength = 1000
    energy: Annotated[
        AnyLinkEnergy | None,
        STATED,
        Field(
            description="energy of what links carry: for each byte, a power while they transmit, a radio profile, or "
            "{up: …, down: …}; a device at an end of the link pays it (default: not counted)",
            json_schema_extra=offer_radio_profiles,
        ),
    ] = None


class LinkEntry(AnyLinkEntry):
    """Links between every pair of the two ends, the same in both directions; ranges are drawn per link."""

    rate: Annotated[
        BitRateSpan, Field(description="rate of a TCP transfer in each direction; a range is drawn per link")
    ]
    delay: Annotated[
        TimeSpan, Field(description="one-way delay without queueing and transmission; a range is drawn per link")
    ]


class TracedLinkEntry(AnyLinkEntry):
    """Links that follow a network trace; the entry does not repeat what the trace has (rate, delay, jitter, loss)."""

    rate: Annotated[
        BitRateSpan | None,
        STATED,
        Field(description="rate of a TCP transfer in each direction; only, and always, if the trace has no rates"),
    ] = None
    delay: Annotated[
        TimeSpan | None,
        STATED,
        Field(description="one-way delay without queueing and transmission; only, and always, if the trace has none"),
    ] = None
    trace: Annotated[
        AnyTrace, Field(description="the network trace: its file, or a mapping; {up: …, down: …} for two traces")
    ]

    @property
    def traces(self) -> tuple[TraceEntry, ...]:
        """The trace of both directions, or two: of the frames from the `from` end, and of those from the `to` end."""
        return (self.trace.up, self.trace.down) if isinstance(self.trace, TracePair) else (self.trace,)


def link_kind(value: Any) -> str:  # noqa: ANN401 - pydantic hands in the raw value
    """Return the tag of the link form that a raw entry means, in parentheses like the tags of events."""
    traced = isinstance(value, TracedLinkEntry) or (isinstance(value, dict) and "trace" in value)
    return "(TracedLinkEntry)" if traced else "(LinkEntry)"


AnyLink = Annotated[
    Annotated[LinkEntry, Tag("(LinkEntry)")] | Annotated[TracedLinkEntry, Tag("(TracedLinkEntry)")],
    Discriminator(link_kind),
]
