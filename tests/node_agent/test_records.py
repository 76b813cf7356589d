"""Telemetry records: every kind of event is documented, and no other kind is accepted."""

import re
from inspect import cleandoc
from typing import get_args

import msgspec
import pytest

from node_agent.records import EventKind, EventRecord, record_decoder, record_encoder


def test_every_kind_of_event_is_documented():
    documented = re.findall(r"^    ([a-z-]+): ", cleandoc(EventRecord.__doc__), re.MULTILINE)
    assert tuple(documented) == get_args(EventKind)
    assert len(set(documented)) == len(documented)


def test_only_listed_kinds_are_decoded():
    events = [EventRecord(1.0, "near", kind, "") for kind in get_args(EventKind)]
    assert record_decoder.decode(record_encoder.encode(events)) == events
    with pytest.raises(msgspec.ValidationError, match="'recever-back'"):
        record_decoder.decode(record_encoder.encode([EventRecord(1.0, "near", "recever-back", "")]))
