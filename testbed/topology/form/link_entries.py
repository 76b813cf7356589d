"""The form of a topology's links: plain ones, and those that follow a network trace."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

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

QueueLength = Annotated[int, Field(ge=1, le=1_000_000, description="frames that may wait for transmission")]


def _as_trace(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class TraceEntry(Entry):
    """A recorded network trace that links follow: in both directions alike, or in one."""

    file: Annotated[
        str,
        Field(min_length=1, max_length=MAX_PATH_CHARACTERS, description="its path, from this topology's folder"),
        SafeText,
    ]
    format: Annotated[
        Literal["mahimahi", "csv"] | None, STATED, Field(description="by default told by the file's name or content")
    ] = None
    every: Annotated[
        Step | None,
        STATED,
        Field(description="length of the steps it is averaged over (default for mahimahi 100 ms, for csv its rows)"),
    ] = None
    offset: Annotated[TimeSpan, Field(description="where in the trace the run begins; a range is drawn per link")] = (
        Span(0.0, 0.0)
    )
    repeat: Annotated[bool, Field(description="begin anew at its end (default); else its last step holds")] = True
    scale: Annotated[float, Field(gt=0, le=1e6, description="factor on its rates")] = 1.0


OneTrace = Annotated[TraceEntry, BeforeValidator(_as_trace)]


class TracePair(Entry):
    """Two recorded network traces, one for each direction of links."""

    up: Annotated[OneTrace, Field(description="for what the `from` end sends: its file, or more about it")]
    down: Annotated[OneTrace, Field(description="for what the `to` end sends: its file, or more about it")]


def _trace_kind(value: Any) -> str:  # noqa: ANN401 - pydantic hands in the raw value
    """Tag of the form that a raw `trace` means; in parentheses as those of events."""
    pair = isinstance(value, TracePair) or (isinstance(value, dict) and not {"up", "down"}.isdisjoint(value))
    return "(TracePair)" if pair else "(TraceEntry)"


AnyTrace = Annotated[
    Annotated[OneTrace, Tag("(TraceEntry)")] | Annotated[TracePair, Tag("(TracePair)")], Discriminator(_trace_kind)
]


class AnyLinkEntry(Entry):
    """What entries of links share."""

    from_: Annotated[Ends, Field(alias="from", description="a node, a switch, a group, or a list of them")]
    to: Annotated[Ends, Field(description="a node, a switch, a group, or a list of them")]
    rate: BitRateSpan | None
    delay: TimeSpan | None
    jitter: Annotated[TimeSpan, Field(description="standard deviation of the delay")] = Span(0.0, 0.0)
    loss: Annotated[ShareSpan, Field(description="share of frames dropped, below 100 %")] = Span(0.0, 0.0)
    queue: QueueLength = 1000


class LinkEntry(AnyLinkEntry):
    """Links between every pair of the two ends, the same in both directions; ranges are drawn per link."""

    rate: Annotated[BitRateSpan, Field(description="what it carries each way")]
    delay: Annotated[TimeSpan, Field(description="one way, without queueing and transmission")]


class TracedLinkEntry(AnyLinkEntry):
    """Links that follow a network trace: what the trace tells (rate, delay, jitter, loss) is not stated beside it."""

    rate: Annotated[BitRateSpan | None, STATED, Field(description="where the trace tells none")] = None
    delay: Annotated[TimeSpan | None, STATED, Field(description="where the trace tells none")] = None
    trace: Annotated[
        AnyTrace, Field(description="the network trace: its file, or more about it, or {up: …, down: …} for two")
    ]

    @property
    def traces(self) -> tuple[TraceEntry, ...]:
        """The trace of both directions, or that of what the `from` end sends and that of what the `to` end does."""
        return (self.trace.up, self.trace.down) if isinstance(self.trace, TracePair) else (self.trace,)


def link_kind(value: Any) -> str:  # noqa: ANN401 - pydantic hands in the raw value
    """Tag of the link form that a raw entry means; in parentheses as those of events."""
    traced = isinstance(value, TracedLinkEntry) or (isinstance(value, dict) and "trace" in value)
    return "(TracedLinkEntry)" if traced else "(LinkEntry)"


AnyLink = Annotated[
    Annotated[LinkEntry, Tag("(LinkEntry)")] | Annotated[TracedLinkEntry, Tag("(TracedLinkEntry)")],
    Discriminator(link_kind),
]
