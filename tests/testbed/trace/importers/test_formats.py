"""Every format: its requests, its recognition by the first line, and its faults, one clear line each."""

import csv
import gzip
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node_agent.errors import InputError
from testbed.trace.importers.contract import Batch, Columns
from testbed.trace.importers.formats import IMPORTERS, importer_of, is_importable
from testbed.trace.importers.requests import Sieve, Source, Tally
from testbed.trace.importers.time_stamps import Window
from testbed.trace.peeked import peeked

LLM = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
)
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,0,1087,API log\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3052, "input_length": 12, "output_length": 0, "hash_ids": []}\n'
)
MINUTES = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f1,http,2,0,1\no,a,f2,timer,0,5,0\n"
CALLS = "app,func,end_timestamp,duration\na,f1,10.5,0.5\na,f2,10.25,9\n"
OWN = '{"time_s": 0.5, "device": "cam-1", "sample": 17}\n{"time_s": 1.5, "device": "cam-2", "sample": 3}\n'
STAMPS = "time,user\n1.5,ann\n0.25,bob\n"
EXAMPLES = {
    "azure-llm": LLM, "burstgpt": BURST, "mooncake": MOONCAKE, "azure-functions-2019": MINUTES,
    "azure-functions-2021": CALLS, "testbed": OWN, "csv": STAMPS,
}  # fmt: skip


def requests_of(path: Path, *, form: str | None = None, columns: Columns | None = None, sieve: Sieve | None = None,
                more: tuple[Path, ...] = ()) -> tuple[list[Batch], Tally]:  # fmt: skip
    tally = Tally()
    source = Source((path, *more), form, columns or Columns())
    random = np.random.default_rng(1)
    return [batch for batch, _, _ in source.batches(sieve or Sieve(), tally, random)], tally


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def only(batches: list[Batch]) -> Batch:
    (batch,) = batches
    return batch


def fault(folder: Path, text: str | bytes, **wishes: object) -> InputError:
    """The error of a file, whose message is one line without the folder."""
    with pytest.raises(InputError) as caught:
        requests_of(written(folder, text), **wishes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.hint
    return caught.value


def test_there_is_an_example_of_every_format() -> None:
    assert set(EXAMPLES) == set(IMPORTERS)
    for importer in IMPORTERS.values():
        assert importer.about


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("form", ["plain", "gzip", "mark", "crlf", "blank lines", "no last line feed"])
def test_a_format_is_recognised_and_read_however_it_is_written(tmp_path: Path, name: str, form: str) -> None:
    text = EXAMPLES[name]
    content = {
        "plain": text.encode(),
        "gzip": gzip.compress(text.encode()),
        "mark": b"\xef\xbb\xbf" + text.encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "blank lines": text.encode() if name == "testbed" else f"\n{text}\n\n".encode(),
        "no last line feed": text.rstrip("\n").encode(),
    }[form]
    batches, tally = requests_of(written(tmp_path, content, "anything"))
    assert tally.form == name
    plain, _ = requests_of(written(tmp_path, text, "plain"))
    for one, other in zip(batches, plain, strict=True):
        assert (one.ticks == other.ticks).all()
        assert one.keys == other.keys
    with peeked(tmp_path / "anything") as file:
        assert is_importable(file.first) == (name != "testbed")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in ("mooncake", "testbed")])
def test_columns_may_stand_in_any_order_with_others_between(tmp_path: Path, name: str) -> None:
    rows = list(csv.reader(io.StringIO(EXAMPLES[name])))
    turned = [[*row[::-1], f"extra {number}"] for number, row in enumerate(rows)]
    for delimiter in ",;\t":
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter).writerows(turned)
        found, tally = requests_of(written(tmp_path, out.getvalue()))
        expected, _ = requests_of(written(tmp_path, EXAMPLES[name]))
        assert tally.form == name
        assert [batch.keys for batch in found] == [batch.keys for batch in expected]
        if name != "azure-functions-2019":
            assert [batch.ticks.tolist() for batch in found] == [batch.ticks.tolist() for batch in expected]


def test_azure_llm(tmp_path: Path) -> None:
    batch = only(requests_of(written(tmp_path, LLM))[0])
    assert batch.axis == "dates"
    assert np.diff(batch.ticks).tolist() == [52_000]
    assert batch.tokens is not None
    assert batch.tokens.tolist() == [4808, 3180]
    assert batch.keys is None


def test_burstgpt_and_its_failures(tmp_path: Path) -> None:
    path = written(tmp_path, BURST)
    batches, tally = requests_of(path)
    assert only(batches).ticks.tolist() == [5_000_000, 45_000_000]
    assert (tally.read, tally.failed, tally.kept) == (2, 1, 2)
    batches, tally = requests_of(path, sieve=Sieve(failed=False))
    assert only(batches).ticks.tolist() == [5_000_000]
    assert (tally.read, tally.failed, tally.kept) == (2, 1, 1)
    by_model = only(requests_of(path, columns=Columns(device="model"))[0])
    assert by_model.keys == ["ChatGPT", "GPT-4"]


def test_mooncake(tmp_path: Path) -> None:
    batches, tally = requests_of(written(tmp_path, MOONCAKE))
    assert only(batches).ticks.tolist() == [0, 3_052_000]
    assert only(batches).tokens.tolist() == [6758, 12]  # type: ignore[union-attr]
    assert tally.failed == 0


def test_functions_2021_begin_before_they_end(tmp_path: Path) -> None:
    batch = only(requests_of(written(tmp_path, CALLS))[0])
    assert batch.ticks.tolist() == [10_000_000, 1_250_000]
    assert batch.keys == ["a/f1", "a/f2"]  # a function's name is unique within its application alone


def test_counts_per_minute_become_that_many_requests_in_their_minute(tmp_path: Path) -> None:
    path = written(tmp_path, MINUTES)
    batches, tally = requests_of(path)
    assert (tally.read, tally.kept, tally.axis) == (8, 8, "seconds")
    found = sorted((key, tick // 60_000_000) for batch in batches for key, tick in zip(batch.keys, batch.ticks))  # type: ignore[arg-type] # noqa: B905
    assert found == [("f1", 0), ("f1", 0), ("f1", 2), *[("f2", 1)] * 5]
    days, tally = requests_of(path, more=(path,))  # a second day
    ticks = np.concatenate([batch.ticks for batch in days])
    assert (ticks >= 86_400_000_000).sum() == 8
    assert tally.read == 16
    by_app = requests_of(path, columns=Columns(device="HashApp"))[0]
    assert {key for batch in by_app for key in batch.keys or ()} == {"a"}


def test_counts_are_spread_evenly_and_thinned_by_chance(tmp_path: Path) -> None:
    from scipy import stats

    path = written(tmp_path, "HashFunction,1,2\nf,200000,0\ng,0,100000\n")
    batches, tally = requests_of(path, sieve=Sieve(keep=0.1))
    ticks = np.concatenate([batch.ticks for batch in batches])
    assert tally.read == 300_000
    first = ticks[ticks < 60_000_000]
    assert len(first) == pytest.approx(20_000, abs=4 * (200_000 * 0.09) ** 0.5)
    assert len(ticks) - len(first) == pytest.approx(10_000, abs=4 * (100_000 * 0.09) ** 0.5)
    assert stats.kstest(first, "uniform", args=(0, 60_000_000)).pvalue > 1e-3


def test_a_window_cuts_counts_within_their_minute(tmp_path: Path) -> None:
    path = written(tmp_path, "HashFunction,1,2,3\nf,6000,6000,6000\n")
    batches, tally = requests_of(path, sieve=Sieve(Window(30_000_000, 120_000_000, "seconds")))
    ticks = np.concatenate([batch.ticks for batch in batches])
    assert 30_000_000 <= ticks.min() < 31_000_000
    assert 119_000_000 < ticks.max() < 120_000_000
    assert len(ticks) == pytest.approx(9000, abs=4 * 1500**0.5)
    assert tally.earliest == 30_000_000


def test_any_table_with_a_column_of_times(tmp_path: Path) -> None:
    batch = only(requests_of(written(tmp_path, STAMPS))[0])
    assert batch.ticks.tolist() == [1_500_000, 250_000]
    text = 'when (ms),"who, exactly",picture\n12,"a, b",3\n7,"c ""d""",0\n'
    columns = Columns(time="when (ms)", device="who, exactly", sample="picture")
    batch = only(requests_of(written(tmp_path, text), columns=columns)[0])
    assert batch.ticks.tolist() == [12_000, 7_000]
    assert batch.keys == ["a, b", 'c "d"']
    assert batch.samples is not None
    assert batch.samples.tolist() == [3, 0]
    seconds = only(requests_of(written(tmp_path, text), columns=Columns(time="when (ms)", unit="s"))[0])
    assert seconds.ticks.tolist() == [12_000_000, 7_000_000]


def test_batches_join_without_a_seam(tmp_path: Path) -> None:
    path = written(tmp_path, "time_s\n" + "".join(f"{number}\n" for number in range(20_000)))
    batches, _ = requests_of(path)
    assert len(batches) == 3
    assert np.concatenate([batch.ticks for batch in batches]).tolist() == [n * 10**6 for n in range(20_000)]
    assert [line for batch in batches for line in batch.lines] == list(range(2, 20_002))


FAULTS = [
    ("", "t.csv:1: empty"),
    ("\n\n", ":1: empty"),
    ("hello\nworld\n", "t.csv:1: no known format begins so: 'hello'"),
    ("a,b\n1,2\n", "t.csv:1: no known format begins so: 'a,b'"),
    ("time_s,rate_mbit_per_s\n0,1\n", "t.csv:1: a network trace, not requests"),
    ("1\n2\n", "t.csv:1: a network trace, not requests"),
    ("time,user\n", "t.csv: there is no request"),
    ("time,user\n1,a\n2\n", "t.csv:3: 1 values for 2 columns"),
    ("time,user\n1,a\n\n2,b,c\n", "t.csv:4: 3 values for 2 columns"),
    ("time,user\n1,a\nsoon,b\n", "t.csv:3: column 'time': not a number: 'soon'"),
    (
        "time,user\nsoon,a\n",
        "t.csv:2: column 'time': neither a number nor a date such as 2023-11-16 18:15:46",
    ),
    ("time,user\n,a\n", "t.csv:2: column 'time': neither a number nor a date"),
    ("time,user\n2023-11-16,a\n5,b\n", "t.csv:3: column 'time': neither a number nor a date"),
    ("time,user\n1e30,a\n", "t.csv:2: column 'time': beyond any date: is its unit right?"),
    ("time,Time\n1,2\n", "t.csv:1: two columns are named 'Time'"),
    ('time,user\n1,"a\n2,b\n', "t.csv:3: a quote that has no end"),
    ('time,user\n1,"a"b\n', "t.csv:2: not comma-separated values: "),
    ('time,"user\n1,a\n', ":1: "),
    (b"time,user\n1,\xff\n", "t.csv:2: not UTF-8 text"),
    (b"time,user\n1,a\0b\n", "t.csv:2: not text: it has a NUL byte"),
    ("time,user\n1,a\n".encode("utf-16"), ":1: "),
    (b"time," + b"x" * 3_000_000, ":1: "),
    (b"time,user\n1," + b"x" * 3_000_000 + b"\n", "t.csv:2: longer than 1024 KiB"),
    ("time,user\n1,a\n2," + '"' + "x\n" * 200_000, "a quote that has no end"),
    ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,-4\n", "t.csv:2: column 'ContextTokens': not a whole number"),
    ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,1.5\n", "t.csv:2: column 'ContextTokens': not a whole number"),
    ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,many\n", "t.csv:2: column 'ContextTokens': "),
    ("TIMESTAMP,ContextTokens\n2023-11-16 18:17:03," + "9" * 5000 + "\n", "column 'ContextTokens': not a whole"),
    ("HashFunction,1,2\nf,3,x\n", "t.csv:2: column '2': not a count: 'x'"),
    ("HashFunction,1,2\nf,-3,1\n", "t.csv:2: column '1': not a count: '-3'"),
    ("HashFunction,1,2\nf,3,99999999\n", "t.csv:2: column '2': not a count"),
    ("HashFunction,1,2000\nf,3,9\n", "t.csv:1: there are no columns of minutes, 1 to 1440"),
    ("HashFunction,1\nf,0\n", "t.csv: there is no request"),
    ("app,func,end_timestamp,duration\na,f,5,-1\n", "t.csv:2: column 'duration': not a number of seconds: '-1'"),
    ("app,func,end_timestamp,duration\na,f,5,nan\n", "t.csv:2: column 'duration': not a number of seconds"),
    ('{"timestamp": 0, "input_length": 5}\n{"timestamp": 1\n', "t.csv:2: "),
    ('{"timestamp": -1, "input_length": 5}\n', "t.csv:1: Expected `float` >= 0"),
    ('{"timestamp": 0, "input_length": "5"}\n', "t.csv:1: Expected `int`, got `str`"),
    ('{"timestamp": 0, "input_length": 5}\nnull\n', "t.csv:2: "),
    ('{"time_s": 5, "device": "a", "sample": 1}\n{"time_s": 4, "device": "a", "sample": 1}\n', ":2: not sorted: 4 s"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in str(fault(tmp_path, text))


def test_wishes_that_the_format_does_not_have(tmp_path: Path) -> None:
    wrong = fault(tmp_path, STAMPS, columns=Columns(device="usr"))
    assert str(wrong).endswith("t.csv:1: there is no column 'usr'")
    assert wrong.hint == "did you mean user?"
    assert "the columns are 'time', 'user'" in fault(tmp_path, STAMPS, columns=Columns(time="zzz")).hint
    assert "has no columns to name" in str(fault(tmp_path, MOONCAKE, columns=Columns(device="user")))
    assert "has no column of times" in str(fault(tmp_path, MINUTES, columns=Columns(sample="x")))
    assert "there is no column 'TIMESTAMP'" in str(fault(tmp_path, STAMPS, form="azure-llm"))
    assert "not a number" in str(fault(tmp_path, LLM, form="csv", columns=Columns(time="TIMESTAMP", unit="s")))
    assert "no request lies in the window" in str(fault(tmp_path, STAMPS, sieve=Sieve(Window(0, 5, "seconds"))))
    assert "no request is kept, of 2" in str(fault(tmp_path, STAMPS, sieve=Sieve(keep=1e-9)))
    assert "times of this trace are dates" in str(fault(tmp_path, LLM, sieve=Sieve(Window(0, 5, "seconds"))))
    assert "times of another kind" in str(fault(tmp_path, STAMPS, more=(written(tmp_path, LLM, "other"),)))


def test_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    packed = gzip.compress(("time\n" + "".join(f"{n * n % 977}\n" for n in range(50_000))).encode())
    assert "its gzip data is cut off" in str(fault(tmp_path, packed[:-20]))
    assert "its gzip data is cut off" in str(fault(tmp_path, packed[: len(packed) // 2]))
    assert "its gzip data is " in str(fault(tmp_path, packed[:2]))
    spoilt = bytearray(packed)
    spoilt[len(packed) // 2] ^= 0xFF
    assert "its gzip data is damaged" in str(fault(tmp_path, bytes(spoilt)))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        requests_of(tmp_path / "absent")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of a format with some of its bytes replaced, cut off or doubled."""
    name = draw(st.sampled_from(list(EXAMPLES)))
    content = bytearray(EXAMPLES[name].encode())
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        part = draw(st.one_of(st.binary(max_size=6), cells.map(str.encode), st.sampled_from([
            b",", b'"', b"\n", b"\r\n", b"\0", b"\xff", b"-", b"9" * 30, b"NaN", b"1e999", b"{", b"\xef\xbb\xbf",
        ])))  # fmt: skip
        content[place : place + draw(st.integers(0, 8))] = part
    if draw(st.booleans()):
        content = bytearray(gzip.compress(bytes(content)))
        content = content[: draw(st.integers(1, len(content)))]
    return name, bytes(content)


@example(("testbed", b'{"\x7ftime_s": 0.5, "device": "cam-1", "sample": 17}\n'), True)
@given(spoilt(), st.booleans())
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_ends_in_a_traceback(tmp_path: Path, case: tuple[str, bytes], named: bool) -> None:
    name, content = case
    path = written(tmp_path, content)
    try:
        batches, tally = requests_of(path, form=name if named else None)
    except InputError as error:
        assert all(line.isprintable() for line in str(error).splitlines())  # noqa: PT017 - not each file is wrong
        return
    assert sum(len(batch.ticks) for batch in batches) == tally.kept > 0


@given(st.lists(st.lists(cells, min_size=1, max_size=4), max_size=6), st.sampled_from([*EXAMPLES, None]))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_ends_in_a_traceback(tmp_path: Path, rows: list[list[str]], form: str | None) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["time", "HashFunction", "1", "func"], *rows])
    with suppress(InputError):
        requests_of(written(tmp_path, out.getvalue()), form=form, columns=Columns(device="func"))


def test_a_format_may_be_stated_against_the_first_line(tmp_path: Path) -> None:
    with peeked(written(tmp_path, LLM)) as file:
        assert importer_of(file, "csv", Columns()) is IMPORTERS["csv"]
        assert importer_of(file, None, Columns()) is IMPORTERS["azure-llm"]
    with peeked(written(tmp_path, "when\n5\n")) as file:
        assert importer_of(file, None, Columns(time="when")) is IMPORTERS["csv"]
