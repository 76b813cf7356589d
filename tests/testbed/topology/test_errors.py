"""All faults of a topology are reported at once, each with its place and advice."""

import copy
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.topology import TopologyError, load_topology_text

GOOD = """\
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
duration: 60 s
devices:
  cam: {count: 2, rate: 3 /s}
servers:
  near: {stage: 1, count: 2, capacity: 1 GFLOP/s}
  core: {stage: 2, capacity: 2 GFLOP/s}
switches: [sw]
links:
  - {from: cam, to: sw, rate: 20 Mbit/s, delay: 2 ms}
  - {from: sw, to: near, rate: 20 Mbit/s, delay: 2 ms}
  - {from: near, to: core, rate: 20 Mbit/s, delay: 2 ms}
"""


def problems_of(text: str) -> list[tuple[str, str]]:
    """Return `line:column: message` and hint of every problem in the text, in order."""
    with pytest.raises(TopologyError) as caught:
        load_topology_text(text, "t")
    assert caught.value.exit_code == 3
    return [(str(problem).removeprefix("t:"), problem.hint) for problem in caught.value.problems]


def test_the_good_text_is_good() -> None:
    load_topology_text(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "said", "advised"),
    [
        # Form.
        ("name: small", "nmae: small", ["1:1: `name` is missing", "1:1: unknown key `nmae`"], "did you mean `name`?"),
        ("name: small", "name: Small Town", ["1:7: `name`: 'Small Town' is not a name"], "a-z"),
        ("name: small", f"name: {'x' * 33}", ["1:7: `name`: 'xxx"], "at most 32"),
        ("policy: dto-ee\n", "", ["1:1: `policy` is missing"], "policy: dto-ee"),
        ("policy: dto-ee", "policy: 3", ["3:9: `policy` must be a mapping"], ""),
        ("policy: dto-ee", "policy: {parameters: {}}", ["3:9: `name` is missing"], ""),
        ("60 s", "60", ["4:11: `duration`: 60 has no unit"], "for example"),
        ("60 s", "0 s", ["4:11: `duration`: a time must be above zero"], ""),
        ("60 s", "10..60 s", ["4:11: `duration`: a range"], "one value"),
        ("duration: 60 s", "durations: 60 s", ["4:1: unknown key `durations`"], "did you mean `duration`?"),
        ("duration: 60 s", "time_scale: 0", ["4:13: `time_scale` must be 0.01 or more, not 0"], ""),
        ("duration: 60 s", "time_scale: .nan", ["4:13: `time_scale`"], ""),
        ("duration: 60 s", "seed: -1", ["4:7: `seed`"], ""),
        ("duration: 60 s", "seed: yes", ["4:7: `seed` must be a whole number, not 'yes'"], ""),
        ("duration: 60 s", "compute: fast", ["4:10: `compute` must be 'paced' or 'quota', not 'fast'"], ""),
        ("duration: 60 s", "theta: 2", ["4:8: `theta`: 2 has no unit"], ""),
        ("count: 2, rate: 3", "count: 0, rate: 3", ["6:16: `count`"], ""),
        ("count: 2, rate: 3", "count: 5001, rate: 3", ["6:16: `count`"], ""),
        ("count: 2, rate: 3", "count: '2', rate: 3", ["6:16: `count` must be a whole number, not '2'"], ""),
        ("count: 2, rate: 3", "count: true, rate: 3", ["6:16: `count` must be a whole number, not true"], ""),
        ("3 /s", "-3 /s", ["6:25: `rate`: a task rate must not be negative"], ""),
        ("3 /s", "3..1 /s", ["6:25: `rate`: the range '3..1 /s' runs downwards"], "1..3 /s"),
        ("rate: 3 /s", "rate: 3 /s, deadline: 0 ms", ["6:41: `deadline`: a time must be above zero"], ""),
        ("rate: 3 /s", "rate: 3 /s, deadline: 400", ["6:41: `deadline`: 400 has no unit"], "for example"),
        ("rate: 3 /s", "rate: 3 /s, deadline: 1..2 s", ["6:41: `deadline`: a range"], "one value"),
        ("rate: 3 /s", "rate: 3 /s, dead_line: 1 s", ["6:31: unknown key `dead_line`"], "did you mean `deadline`?"),
        ("duration: 60 s", "utility: deadlines", ["4:10: no device has a deadline"], "deadline: 500 ms"),
        ("duration: 60 s", "utility: late", ["4:10: `utility` must be 'accuracy' or 'deadlines', not 'late'"], ""),
        ("rate: 3 /s", "rate: 3 /s, delay_bound: 0 ms", ["6:44: `delay_bound`: a time must be above zero"], ""),
        ("rate: 3 /s", "rate: 3 /s, delay_bound: 400", ["6:44: `delay_bound`: 400 has no unit"], "for example"),
        ("rate: 3 /s", "rate: 3 /s, delay_bound: ", ["6:44: `delay_bound`: the value is missing"], "remove the key"),
        ("rate: 3 /s", "rate: 3 /s, delay: 1 s", ["6:31: unknown key `delay`"], ""),
        ("count: 2, rate: 3", "count: , rate: 3", ["6:16: `count`: the value is missing"], "remove the key"),
        ("stage: 1", "stage: 0", ["8:17: `stage`"], ""),
        ("  cam: ", "  Cam: ", ["6:3: 'Cam' is not a name"], "a-z"),
        (", delay: 2 ms}\n  - {from: sw", "}\n  - {from: sw", ["12:5: `delay` is missing"], "delay: 5 ms"),
        ("{from: cam, to: sw,", "{from: cam, to: sw, latency: 2 ms,", ["12:25: unknown key `latency`"], "`delay`"),
        ("{from: cam, to: sw,", "{from: cam, to: sw, queue: 0,", ["12:32: `queue`"], ""),
        ("{from: cam, to: sw,", "{from: cam, to: [sw, 3],", ["12:26: '3' is not a name"], ""),
        ("[sw]", "sw", ["10:11: `switches` must be a list, not 'sw'"], ""),
        ("name: small", "- small", ["2:1: not YAML"], "indentation"),
        (GOOD, "[small]", ["1:1: a topology must be a mapping"], "name: my-topology"),
        # Model, policy, timing.
        ("[3, 5]", "[5, 3]", ["2:32: the cut must rise"], ""),
        ("[3, 5]", "[1, 5]", ["2:29: block 1 of model 'glyphs' has no exit"], "2, 3, 4, 5"),
        ("[3, 5]", "[2, 4]", ["2:32: the last sub-model ends at block 4"], "end the cut with 5"),
        ("[3, 5]", "[2, 3, 5]", ["2:28: no server hosts stage 3 of 3"], "stage: 3"),
        ("[3, 5]", "[5]", ["9:17: stage 2 does not exist"], "lower the stage"),
        ("[3, 5]", "[0, 5]", ["2:29: "], ""),
        ("glyphs", "hieroglyphs", ["2:15: unknown model 'hieroglyphs'"], "glyphs"),
        ("policy: dto-ee", "policy: dto-e", ["3:9: there is no policy 'dto-e'"], "dto-ee"),
        ("policy: dto-ee", "policy: {name: dto-ee, parameters: {zeta: 1}}", ["3:36: "], ""),
        ("policy: dto-ee", "policy: 'dto-ee:zeta=1'", ["3:9: policy dto-ee has no parameter 'zeta'"], "it has"),
        ("policy: dto-ee", "policy: 'dto-ee:threshold'", ["3:9: `policy`: policy 'dto-ee:threshold': "], "="),
        ("policy: dto-ee", "policy: 'dto-ee:threshold=7'", ["3:9: policy dto-ee: threshold must be a "], "never"),
        ("policy: dto-ee", "policy: 'dto-ee:threshold=2 sec'", ["3:9: '2 sec' begins with a number"], "2 s"),
        ("policy: dto-ee", "policy: 'dto-ee:theta=2'", ["3:9: policy dto-ee has no parameter 'theta'"], "at the top"),
        ("policy: dto-ee", "policy: ''", ["3:9: "], ""),
        ("policy: dto-ee", "policy: 'no-such.py:Mine'", ["3:9: there is no policy file /"], "file.py:Class"),
        ("policy: dto-ee", 'policy: "a\\0b.py:Mine"', ["3:9: control characters are not allowed"], "plain text"),
        ("policy: dto-ee", "policy: {name: 'no-such.py:Mine'}", ["3:16: there is no policy file /"], "file.py:Class"),
        ("policy: dto-ee", "policy: {name: dto-ee, parameters: {theta: 2 s}}", ["3:36: "], "at the top"),
        ("duration: 60 s", "warm_up: 60 s", ["4:10: the warm-up (60 s) fills"], "%"),
        ("duration: 60 s", "warm_up: 100 %", ["4:10: the warm-up (60 s) fills"], "shorten"),
        # Names and references.
        ("  core:", "  near-1:", ["9:3: the name 'near-1' is used in line 8", "14:22: unknown node 'core'"], ""),
        ("  core:", "  cam:", ["9:3: the name 'cam' is used in line 6", "14:22: unknown node 'core'"], ""),
        ("[sw]", "[sw, near]", ["10:16: the name 'near' is used in line 8"], "rename"),
        ("[sw]", "[sw, sw]", ["10:16: the name 'sw' is used in line 10"], "rename"),
        (
            "  cam: ",
            "  cam-of-the-long-corridor-at-home: ",
            ["6:3: the name 'cam-of-the-long-corridor-at-home-2' is longer", "12:12: unknown"],
            "",
        ),
        ("from: near, to", "from: naer, to", ["14:12: unknown node 'naer'"], "did you mean near?"),
        ("from: near, to", "from: near-3, to", ["14:12: unknown node 'near-3'"], "did you mean near-"),
        ("from: near, to", "from: [near, near-1], to", ["14:19: 'near-1' is named twice in this list"], ""),
        ("from: sw, to", "from: near-1, to", ["13:5: this entry links 'near-1' to itself"], "two different"),
        # Link shapes.
        (
            "delay: 2 ms}\n  - {from: sw",
            "delay: 2..9 ms, jitter: 3 ms}\n  - {from: sw",
            ["12:66: the jitter (3 ms)"],
            "",
        ),
        ("delay: 2 ms}\n  - {from: sw", "delay: 2 ms, loss: 100 %}\n  - {from: sw", ["12:61: a link must lose"], ""),
        # Network.
        ("[sw]", "[sw, lone]", ["10:16: 'lone' has no link"], "add an entry"),
        ("  - {from: near, to: core, rate: 20 Mbit/s, delay: 2 ms}\n", "", ["9:3: 'core' has no link"], ""),
    ],
)
def test_one_mistake(old: str, new: str, said: list[str], advised: str) -> None:
    assert old in GOOD
    found = problems_of(GOOD.replace(old, new, 1))
    for expected in said:
        assert any(problem.startswith(expected) for problem, _ in found), found
    assert len(found) == len(said), found
    assert any(advised in hint for _, hint in found), found


@pytest.mark.parametrize(
    ("extra", "said", "advised"),
    [
        (
            "  - {from: cam-1, to: sw, rate: 1 Mbit/s, delay: 1 ms}\n" * 2,
            "16:5: the link cam-1 - sw is already stated in line 15",
            "",
        ),
        (
            "  - {from: cam, to: sw, rate: 1 Mbit/s, delay: 1 ms}\n",
            "15:5: the link cam-1 - sw is already stated in line 12",
            "one by one",
        ),
        ("  - {from: sw, to: cam, rate: 1 Mbit/s, delay: 1 ms}\n", "15:5: the link sw - cam-1 is already", ""),
        (
            "  - {from: near-1, to: core, rate: 1 Mbit/s, delay: 1 ms}\n"
            "  - {from: near, to: core, rate: 1 Mbit/s, delay: 1 ms}\n",
            "16:5: the link near-1 - core is already stated in line 15",
            "put the entry that names groups first",
        ),
        ("offload: {cam-9: [near]}\n", "15:11: unknown node 'cam-9'", "cam"),
        ("offload: {cam: [near-9]}\n", "15:17: unknown node 'near-9'", "near"),
        ("offload: {cam: [core]}\n", "15:17: 'core' is not a server of stage 1", "near-1, near-2"),
        ("offload: {cam: [near, near-1]}\n", "15:23: 'near-1' is named twice in this list", ""),
        ("offload: {cam: []}\n", "15:16: ", ""),
        ("offload: {core: [near]}\n", "15:11: 'core' is a server of the last stage", ""),
        ("offload: {sw: [near]}\n", "15:11: 'sw' is a switch", ""),
        ("events: [{at: 60 s, server: core, capacity: x2}]\n", "15:15: the event at 60 s is not before", "%"),
        ("events: [{at: 5, server: core, capacity: x2}]\n", "15:15: `at`: 5 has no unit", ""),
        ("events: [{at: 101 %, server: core, capacity: x2}]\n", "15:15: `at`: '101 %' is too large", "100 %"),
        ("events: [{at: 5 s, server: core, capacity: x0}]\n", "15:44: `capacity`: 'x0' is not a factor", "x0.5"),
        ("events: [{at: 5 s, server: core}]\n", "15:10: `capacity` is missing", ""),
        (
            "events: [{at: 5 s, server: core, rate: 1 Mbit/s, capacity: x2}]\n",
            "15:34: unknown key `rate`",
            "at, server, capacity",
        ),
        ("events: [{at: 5 s, server: core, node: core}]\n", "15:10: an event is about exactly one of", ""),
        ("events: [{at: 5 s}]\n", "15:10: an event is about exactly one of", ""),
        ("events: [{at: 5 s, device: cam, rate: x0}]\n", "15:39: `rate`: 'x0' is not a factor", "x0.5"),
        ("events: [{at: 5 s, device: cam, rate: 0 /s}]\n", "15:39: `rate`: a task rate must be above zero", "3 /s"),
        ("events: [{at: 5 s, device: cam, rate: -1 /s}]\n", "15:39: `rate`: a task rate must not be negative", "3 /s"),
        ("events: [{at: 5 s, device: cam, rate: x-2}]\n", "15:39: `rate`: 'x-2' is not a factor", "x0.5"),
        ("events: [{at: 5 s, device: cam, rate: 6}]\n", "15:39: `rate`: 6 has no unit", "3 /s"),
        ("events: [{at: 5 s, device: cam, rate: 2..6 /s}]\n", "15:39: `rate`: a range", "one value"),
        ("events: [{at: 5 s, device: cam, rate: 2 Mbit/s}]\n", "15:39: `rate`: 'Mbit/s' is not a unit", "/s"),
        ("events: [{at: 5 s, device: cam}]\n", "15:10: `rate` is missing", "rate: 3 /s"),
        ("events: [{at: 5 s, device: cam, capacity: x2, rate: x2}]\n", "15:33: unknown key `capacity`", "device, rate"),
        ("events: [{at: 5 s, device: camm, rate: x2}]\n", "15:28: unknown device 'camm'", "did you mean cam?"),
        ("events: [{at: 5 s, device: near, rate: x2}]\n", "15:28: 'near-1' is a server, not a device", "offer tasks"),
        ("events: [{at: 5 s, device: sw, rate: x2}]\n", "15:28: 'sw' is a switch, not a device", "offer tasks"),
        ("events: [{at: 5 s, device: cam, server: core, rate: x2}]\n", "15:10: an event is about exactly one", ""),
        ("events: [{at: 5 s, server: core, rate: x2, capacity: x2}]\n", "15:34: unknown key `rate`", "capacity"),
        ("events: [{at: 60 s, device: cam, rate: x2}]\n", "15:15: the event at 60 s is not before", "%"),
        ("events: [{at: 5 s, server: cam-1, capacity: x2}]\n", "15:28: 'cam-1' is a device, not a server", ""),
        ("events: [{at: 5 s, server: cor, capacity: x2}]\n", "15:28: unknown server 'cor'", "did you mean core?"),
        ("events: [{at: 5 s, link: [cam-1, core], rate: x2}]\n", "15:26: no link joins 'cam-1' and 'core'", ""),
        ("events: [{at: 5 s, link: [cam-1, xy], rate: x2}]\n", "15:34: unknown node 'xy'", ""),
        ("events: [{at: 5 s, link: [cam-1], rate: x2}]\n", "15:26: ", ""),
        ("events: [{at: 5 s, link: [cam-1, sw]}]\n", "15:10: this link event changes nothing", "rate, delay"),
        (
            "events: [{at: 5 s, link: [cam-1, sw], jitter: 3 ms}]\n",
            "15:47: the link cam-1 - sw: the jitter",
            "lower the jitter",
        ),
        (
            "events: [{at: 5 s, link: [cam-1, sw], loss: 100 %}]\n",
            "15:45: the link cam-1 - sw: a link must lose less",
            "state: down",
        ),
        ("events: [{at: 5 s, node: sw, state: down}]\n", "15:26: 'sw' is a switch and runs no agent", ""),
        ("events: [{at: 5 s, node: core, state: off}]\n", "15:39: `state` must be 'up' or 'down', not 'off'", ""),
        ("events: [{at: 5 s, node: core, state: up}]\n", "15:39: 'core' is already up at 5 s", "alternate down"),
    ],
)
def test_one_mistake_in_what_may_follow(extra: str, said: str, advised: str) -> None:
    found = problems_of(GOOD + extra)
    assert len(found) == 1, found
    assert found[0][0].startswith(said), found
    assert advised in found[0][1], found


def test_a_network_in_pieces_cannot_return_results() -> None:
    split = """\
  tv: {rate: 1 /s}
servers:
  lone: {stage: 1, capacity: 1 GFLOP/s}
  far: {stage: 2, capacity: 1 GFLOP/s}
"""
    links = """\
  - {from: tv, to: lone, rate: 1 Mbit/s, delay: 1 ms}
  - {from: lone, to: far, rate: 1 Mbit/s, delay: 1 ms}
"""
    text = GOOD.replace("servers:\n", split) + links
    ((said, hint),) = problems_of(text)
    assert said.startswith("7:3: no path joins 'tv' and 'cam-1', so results cannot return")
    assert "must be connected" in hint


def test_an_offloader_without_receivers_is_named() -> None:
    # All nodes are connected through servers, but servers do not forward frames.
    text = GOOD.replace("from: near, to: core", "from: near-1, to: [core, near-2]").replace(
        "from: sw, to: near,", "from: sw, to: near-1,"
    )
    found = problems_of(text)
    assert [said for said, _ in found] == ["8:3: 'near-2' reaches no server of stage 2"]
    assert "switches" in found[0][1]


def test_stated_receivers_must_be_joined() -> None:
    text = GOOD.replace("from: near, to: core", "from: near-1, to: [core, near-2]").replace(
        "from: sw, to: near,", "from: sw, to: near-1,"
    )
    found = problems_of(text + "offload: {near-2: [core], cam-1: [near-2]}\n")
    assert [said.split(": ", 1)[0] for said, _ in found] == ["15:20", "15:35"]
    assert all("does not join" in said for said, _ in found)


def test_switches_may_form_a_ring() -> None:
    links = """\
  - {from: sw, to: [sx, sy], rate: 1 Gbit/s, delay: 0 ms}
  - {from: sx, to: sy, rate: 1 Gbit/s, delay: 0 ms}
"""
    load_topology_text(GOOD.replace("[sw]", "[sw, sx, sy]") + links)


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
name: small
model: {name: glyphs, cut: [3, 2, 5]}
policy: {name: nobody}
slot: 3
warm_up: 70 s
devices:
  cam: {count: 2, rate: 4..2 /s}
  cam: {count: 2, rate: 3 /s, latency: 1 ms}
servers:
  near: {stage: 1, count: 3, capacity: 1 gflop/s}
  core: {stage: 7, capacity: 1 GFLOP/s}
links:
  - {from: cam, to: near, rate: 20 Mbps, delay: 2 ms}
  - {from: cam, to: naer-1, rate: 20 Mbit/s, delay: 2 ms}
  - {from: core, to: core, rate: 20 Mbit/s, delay: 2 ms, jitter: 3 ms}
events:
  - {at: 90 s, server: cam-1, capacity: x0.33}
  - {at: 1 s}
"""
    found = problems_of(text)
    places = "2:32 3:16 4:7 5:10 8:3 8:31 10:40 13:33 14:21 15:5 15:66 17:10 17:24 18:5"
    assert [said.split(": ", 1)[0] for said, _ in found] == places.split()
    with pytest.raises(TopologyError) as caught:
        load_topology_text(text, "t")
    assert str(caught.value).startswith("14 problems in t\nt:2:32: the cut must rise")


def test_a_wrong_entry_raises_no_false_alarm_about_what_refers_to_it() -> None:
    bad_group = GOOD.replace("count: 2, rate", "count: none, rate")
    extra = "events: [{at: 5 s, node: cam-2, state: down}]\n"
    assert [said.split(": ")[0] for said, _ in problems_of(bad_group + extra)] == ["6:16"]
    bad_link = GOOD.replace("to: sw, rate: 20 Mbit/s", "to: sw, rate: 20")
    assert [said.split(": ")[0] for said, _ in problems_of(bad_link + extra)] == ["12:31"]
    # Entries after a dropped one keep their own places.
    bad_too = bad_link.replace("from: near, to: core", "from: nar, to: core")
    assert [said.split(": ")[0] for said, _ in problems_of(bad_too)] == ["12:31", "14:12"]


def test_nobody_is_told_of_nodes_that_stand_in_no_file() -> None:
    """Sections of which nothing can be read are left empty, and references to them are skipped."""
    no_links = GOOD.replace("delay: 2 ms", "delay: 5 m")
    extra = "events: [{at: 5 s, link: [cam-1, sw], rate: x0.5}]\noffload: {cam: [near]}\n"
    found = problems_of(no_links + extra)
    assert [said.split(": ", 1)[0] for said, _ in found] == ["12:49", "13:50", "14:52"], found
    for broken in ("devices: [cam]", "devices: {cam: 3}", "devices: 7", "devices: {}"):
        text = GOOD.replace("devices:\n  cam: {count: 2, rate: 3 /s}", broken)
        assert [said.split(":")[0] for said, _ in problems_of(text + extra)] == ["5"], broken
    for broken in ("servers: {near: {}}", "servers: 7", "servers: []"):
        text = GOOD.replace("servers:\n", f"{broken}\nmine:\n")
        said = " ".join(told for told, _ in problems_of(text))
        assert "stand-in" not in said


@pytest.mark.parametrize(
    ("old", "new", "said", "advised"),
    [
        ("rate: 20 Mbit/s", "trace: {file: t.csv, repeat: no}", "`repeat` must be true or false, not 'no'", "false"),
        ("rate: 20 Mbit/s", "trace: {file: t.csv, repeat: On}", "`repeat` must be true or false, not 'On'", "true"),
        ("rate: 20 Mbit/s", "trace: {file: t.csv, repeat: 1}", "`repeat` must be true or false, not 1", ""),
        ("cut: [3, 5]", "cut: []", "`cut` must have 1 or more entries, not []", ""),
        ("5]}", "5], activation: float61}", "'float16' or 'int8', not 'float61'", "did you mean float16?"),
        ("5]}", "5], criterion: margn}", "'margin' or 'patience', not 'margn'", "did you mean margin?"),
        ("duration: 60 s", "compute: Paced", "must be 'paced' or 'quota', not 'Paced'", "did you mean paced?"),
        ("duration: 60 s", "time_scale: 2000", "`time_scale` must be 1000 or less, not 2000", ""),
        ("duration: 60 s", "seed: 9999999999999999999999", "`seed` must be", ""),
        ("glyphs", "glyph", "unknown model 'glyph'", "did you mean glyphs?"),
        ("policy: dto-ee", "policy: DTOEE", "there is no policy 'DTOEE'", "did you mean dto-ee?"),
        ("policy: dto-ee", "policy: dto-ee:treshold=0.5", "has no parameter 'treshold'", "did you mean threshold?"),
        ("to: core", "to: Core", "'Core' is not a name", "a-z"),
        ("to: core", "to: cor", "unknown node 'cor'", "did you mean core?"),
        ("from: near", "from: near1", "unknown node 'near1'", "did you mean near-1?"),
        ("duration: 60 s", "warmup: 3 s", "unknown key `warmup`", "did you mean `warm_up`?"),
        ("duration: 60 s", "time-scale: 3", "unknown key `time-scale`", "did you mean `time_scale`?"),
    ],
)  # fmt: skip
def test_words_are_our_own_and_near_names_are_found(old: str, new: str, said: str, advised: str) -> None:
    found = problems_of(GOOD.replace(old, new, 1))
    assert any(said in told and advised in hint for told, hint in found), found


def test_a_huge_mesh_is_refused_before_it_is_built() -> None:
    text = GOOD.replace("count: 2", "count: 5000") + "  - {from: cam, to: near, rate: 1 Mbit/s, delay: 1 ms}\n"
    ((said, hint),) = problems_of(text)
    assert said.startswith("15:5: more than 200000 links")
    assert hint


_ODD_NUMBERS = [None, True, 0, -1, 1.5, float("nan"), 10**30]
_ODD_WORDS = ["", "x", "cam", "near-1", "sw", "5 ms", "-1 /s", "x2"]
_ODD = st.sampled_from([*_ODD_NUMBERS, *_ODD_WORDS, [], {}, [1], {"a": 1}]).map(copy.deepcopy)


def _damage(value: object, data: st.DataObject) -> None:
    """Replace, remove, rename or add a value at a random place inside nested dicts and lists."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            value = inner
            continue
        break
    how = data.draw(st.sampled_from(["replace", "remove", "add", "copy"]))
    if how == "replace":
        value[key] = data.draw(_ODD)
    elif how == "remove":
        del value[key]
    elif isinstance(value, dict):
        value[data.draw(st.sampled_from(["x", "near-1", "cam", "rate", "count", "name", "BAD"]))] = data.draw(_ODD)
    elif how == "copy":
        value.append(copy.deepcopy(value[key]))
    else:
        value.append(data.draw(_ODD))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_always_reported_as_problems_with_a_place(data: st.DataObject) -> None:
    document = yaml.safe_load(GOOD + "offload: {cam: [near]}\nevents: [{at: 5 s, node: core, state: down}]\n")
    for _ in range(data.draw(st.integers(1, 3))):
        _damage(document, data)
    text = yaml.safe_dump(document, sort_keys=False)
    problems = None
    try:
        load_topology_text(text, "t")
    except TopologyError as error:
        problems = error.problems
    assert problems != ()
    for problem in problems or ():
        assert 1 <= problem.line <= text.count("\n") + 1
        assert re.match(r"t:\d+:\d+: \S", str(problem))
        foreign = r"stand-in|[Ii]nput should|[Ll]ist should|valid (string|integer|boolean|list)|`float`"
        assert not re.search(foreign, f"{problem.message} {problem.hint}")
