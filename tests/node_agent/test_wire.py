"""Messages survive encoding and decoding unchanged; other bytes are refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.wire import (
    MAX_HEADER_BYTES,
    PREFIX,
    Ack,
    Affine,
    ExitAnswer,
    Hop,
    InputForm,
    Message,
    Offer,
    Probe,
    Report,
    Result,
    Task,
    Tensor,
    TensorForm,
    WireError,
    as_sent,
    decode,
    encode,
)

times = st.floats(-1e6, 1e6)
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
hops = st.lists(st.builds(Hop, names, times, times, times, times, st.floats(0, 1e6)), max_size=4).map(tuple)
forms = st.builds(
    TensorForm,
    st.sampled_from(["uint8", "int8", "uint16", "float16", "float32"]),
    st.lists(st.integers(1, 5), max_size=4).map(tuple),
    st.none() | st.builds(Affine, st.floats(1e-60, 1e38), st.integers(-128, 127)),
)
answers = st.lists(st.builds(ExitAnswer, st.integers(0, 1000), st.floats(0, 1)), max_size=4).map(tuple)
counts = st.integers(0, 2**53)
paths = st.lists(st.tuples(st.floats(0, 1e6), st.lists(st.floats(0, 2), max_size=4).map(tuple)), max_size=4).map(tuple)
plain_messages = st.one_of(
    st.builds(Ack, counts, st.integers(1, 9), times, counts),
    st.builds(
        Result, counts, st.integers(1, 9), st.integers(0, 1000), st.floats(0, 1), st.integers(1, 9), st.booleans(), hops
    ),
    st.builds(Offer, counts, counts, st.floats(0, 1e6), paths, times, st.booleans(), st.booleans()),
)


@given(plain_messages)
def test_plain_messages_come_back(message):
    assert decode([bytes(frame) for frame in encode(message)]) == (message, None)


@given(st.builds(Task, counts, names, st.integers(1, 1000), counts, times, hops, forms, answers), st.randoms())
def test_tasks_come_back_with_their_tensor(task, random):
    data = random.randbytes(task.tensor.byte_count)
    message, tensor = decode([bytes(frame) for frame in encode(task, Tensor(task.tensor, data))])
    assert message == task
    assert tensor == Tensor(task.tensor, data)


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_foreign_bytes_are_refused(frames):
    with pytest.raises(WireError):
        decode(frames)


ACK = bytes(encode(Ack(7, 2, 3.5, 4))[0])[len(PREFIX) :]


@given(st.one_of(
    st.binary(max_size=300),
    st.builds(lambda place, byte: ACK[:place] + bytes([byte]) + ACK[place + 1 :],
              st.integers(0, len(ACK) - 1), st.integers(0, 255)),
    st.builds(lambda end: ACK[:end], st.integers(0, len(ACK))),
))  # fmt: skip
def test_bytes_behind_our_prefix_are_refused_or_a_message(body):
    """Try random bytes, and an acknowledgement with one byte changed or cut short, which often remains valid."""
    try:
        message, tensor = decode([PREFIX + body])
    except WireError:
        return
    assert isinstance(message, Message)
    assert decode([bytes(frame) for frame in encode(message, tensor)]) == (message, tensor)


def task_frames(form: TensorForm, data: bytes) -> list[bytes]:
    task = Task(1, "cam-1", 1, 1, 0.0, (), form)
    return [bytes(frame) for frame in encode(task, Tensor(form, data))]


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([b"GET / HTTP/1.1"], "another protocol"),
        ([b"DTOE\x63" + b"\x80"], "version 63"),
        ([PREFIX + b"x" * MAX_HEADER_BYTES], "above the limit"),
        ([PREFIX + msgspec.msgpack.encode({"type": "wish"})], "malformed"),
        (task_frames(TensorForm("uint8", (2, 2)), b"123"), "3 tensor bytes where uint8\\[2, 2\\] has 4"),
        (task_frames(TensorForm("uint8", (2, 2)), b"1234")[:1], "without its tensor"),
        ([*(bytes(f) for f in encode(Ack(1, 1, 0.0, 0))), b"more"], "a tensor frame after"),
        (task_frames(TensorForm("float32", (4096, 4096, 2)), b""), "above the limit"),
    ],
)
def test_refusals_say_why(frames, complaint):
    with pytest.raises(WireError, match=complaint):
        decode(frames)


def test_out_of_bounds_values_are_refused():
    header = bytes(encode(Offer(1, 1, 1.0, ((1.0, (0.5,)),), 0.0, False, False))[0])
    bad = {**msgspec.msgpack.decode(header[len(PREFIX) :]), "flow_per_s": -1.0}
    with pytest.raises(WireError, match="flow_per_s"):
        decode([PREFIX + msgspec.msgpack.encode(bad)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["flow_per_s", "sent_s", "return_s"])
def test_figures_that_would_spread_from_node_to_node_are_refused(field, value):
    header = bytes(encode(Offer(1, 1, 1.0, ((1.0, (0.5,)),), 0.0, False, False))[0])
    bad = {**msgspec.msgpack.decode(header[len(PREFIX) :]), field: value}
    with pytest.raises(WireError, match=field):
        decode([PREFIX + msgspec.msgpack.encode(bad)])


@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [(0.0, 0), (-1.0, 0), (1e39, 0), (float("nan"), 0), (float("inf"), 0), (1.0, 128), (1.0, -129), ("1", 0)],
)
def test_scales_and_zero_points_out_of_bounds_are_refused(scale, zero_point):
    form = TensorForm("int8", (4,), Affine(scale, zero_point))
    with pytest.raises(WireError, match=r"malformed.*tensor\[2\]"):
        decode(task_frames(form, b"1234"))


@pytest.mark.parametrize("answer", [(-1, 0.5), (3, 1.5), (3, -0.1), (3, float("nan")), (2.5, 0.5)])
def test_answers_of_earlier_exits_out_of_bounds_are_refused(answer):
    form = TensorForm("uint8", (4,))
    task = Task(1, "cam", 1, 1, 0.0, (), form, (ExitAnswer(*answer),))
    with pytest.raises(WireError, match=r"malformed.*answers"):
        decode([bytes(frame) for frame in encode(task, Tensor(form, b"1234"))])


def test_a_task_carries_answers_only_if_a_criterion_needs_them():
    form = TensorForm("uint8", (4,))
    plain, judged = (Task(1, "cam", 1, 1, 0.0, (), form, answers) for answers in ((), (ExitAnswer(3, 0.5),)))
    assert b"answers" not in encode(plain)[0]
    assert b"answers" in encode(judged)[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "field", ["marginal_s", "best_s", "curvature_s2", "service_rate_per_s", "link_s", "return_s", "sent_s"]
)
def test_prices_are_finite(field, value):
    report = Report(1, 1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.1, 3, 1.0, 2.0, 0.0, 0.8, 0.5, 0, ((1.0, ()),), 0.01, False)
    header = bytes(encode(report)[0])
    assert decode([header]) == (report, None)
    bad = {**msgspec.msgpack.decode(header[len(PREFIX) :]), field: value}
    with pytest.raises(WireError, match=field):
        decode([PREFIX + msgspec.msgpack.encode(bad)])


def test_a_report_keeps_the_names_of_its_message_though_its_figures_are_called_as_everywhere_else():
    report = Report(1, 1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.1, 3, 1.0, 2.0, 0.0, 0.8, 0.5, 0, ((1.0, ()),), 0.01, False)
    sent = msgspec.msgpack.decode(bytes(encode(report)[0])[len(PREFIX) :])
    assert (sent["arrival_rate_per_s"], sent["service_rate_per_s"], sent["link_s"]) == (1.0, 2.0, 0.01)
    assert (report.arrival_per_s, report.service_per_s, report.offer_s) == (1.0, 2.0, 0.01)


def test_names_that_are_no_text_are_refused():
    header = task_frames(TensorForm("uint8", (4,)), b"1234")[0]
    with pytest.raises(WireError, match="malformed"):
        decode([header.replace(b"cam-1", b"\xff\xfe\xfd-1"), b"1234"])


def test_every_message_has_its_own_tag():
    tags = [kind.__struct_config__.tag for kind in (Task, Ack, Result, Probe, Offer, Report)]
    assert len(set(tags)) == len(tags)


def test_a_message_carries_the_time_at_which_it_is_sent():
    form, hop = TensorForm("uint8", (1,)), Hop("near", 1.0, 2.0, 3.0, 3.0, 0.0)
    first = Hop("first", 0.1, 0.2, 0.3, 0.4, 0.0)
    offered = as_sent(Task(1, "cam", 1, 1, 0.5, (), form), 4.0)
    assert (offered.sent_s, offered.hops) == (4.0, ())
    onward = as_sent(Task(1, "cam", 1, 1, 3.0, (first, hop), form), 4.0)
    assert onward.sent_s == 4.0
    assert onward.hops == (first, Hop("near", 1.0, 2.0, 3.0, 4.0, 0.0))
    result = Result(1, 1, 5, 0.7, 1, False, (first, hop))
    assert as_sent(result, 4.0).hops == onward.hops
    assert as_sent(Offer(0, 0, 5.0, (), 0.5, False, False), 4.0).sent_s == 4.0
    report = Report(1, 1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.1, 3, 1.0, 2.0, 0.0, 0.8, 0.5, 0, ((1.0, ()),), 0.01, False)
    assert as_sent(report, 4.0).sent_s == 4.0
    ack = Ack(1, 1, 0.5, 1)
    assert as_sent(ack, 4.0) is ack


shaped = forms.filter(lambda form: form.shape)
varying = st.builds(lambda usual, more: InputForm(usual, usual.shape[0] + more), shaped, st.integers(0, 3))


@given(forms, forms)
def test_a_form_that_does_not_vary_fits_itself_alone(usual, other):
    takes = InputForm(usual)
    assert takes.fits(usual)
    assert takes.fits(other) == ((other.dtype, other.shape) == (usual.dtype, usual.shape))
    assert takes.largest == usual


@given(varying, shaped)
def test_of_a_varying_form_the_first_dimension_alone_may_differ(takes, other):
    assert takes.most is not None
    alike = (other.dtype, len(other.shape), other.shape[1:])
    same = alike == (takes.usual.dtype, len(takes.usual.shape), takes.usual.shape[1:])
    assert takes.fits(other) == (same and other.shape[0] <= takes.most)
    assert not takes.fits(TensorForm(takes.usual.dtype, (*takes.usual.shape, 1)))
    assert not takes.fits(TensorForm(takes.usual.dtype, ()))


@given(varying, st.integers(1, 12))
def test_a_sized_form_fits_up_to_the_largest(takes, first):
    form = takes.sized(first)
    assert (form.dtype, form.shape) == (takes.usual.dtype, (first, *takes.usual.shape[1:]))
    assert takes.fits(form) == (first <= takes.most)
    assert takes.fits(takes.largest)
    assert takes.largest == takes.sized(takes.most)
    if takes.fits(form):
        assert form.byte_count <= takes.largest.byte_count


@given(st.one_of(varying, st.builds(InputForm, forms)))
def test_an_input_form_survives_the_way_to_an_agent(takes):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(takes), type=InputForm) == takes


def test_token_ids_travel_as_two_bytes_each():
    frames = task_frames(TensorForm("uint16", (3,)), b"\x01\x00\xff\xbf\x02\x00")
    _, tensor = decode(frames)
    assert tensor == Tensor(TensorForm("uint16", (3,)), b"\x01\x00\xff\xbf\x02\x00")
    with pytest.raises(WireError, match="bytes"):
        decode([frames[0], b"\x01\x00\xff"])
