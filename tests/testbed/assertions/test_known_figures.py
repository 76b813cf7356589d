"""The figures that can be asserted are those that docs/run-directory.md documents."""

import re

import pytest

from node_agent.errors import InputError
from testbed.assertions.known_figures import KNOWN, known_figure, short_figure
from testbed.record.run_figures import FIGURES
from tests.docs.pages import DOCS, rows, section

TEXT = (DOCS / "run-directory.md").read_text(encoding="utf-8")
# Facts and settings, which nobody bounds; entries that only some runs have, and names with blanks.
NO_FIGURES = {"schema", "seed", "lost_reasons.<reason>", "energy.links.<link>"}
SCALARS = ("int", "number", "true or false")


def documented(heading: str, prefix: str = "") -> dict[str, tuple[str, str]]:
    """Type and unit of every number and truth of a section of the page, by path, in the form of patterns."""
    found = {}
    for name, kind, unit, meaning in rows(section(TEXT, heading)):
        path = prefix + name.strip("`")
        if kind.removesuffix(" or null") in SCALARS and "[]" not in path and path not in NO_FIGURES:
            path = path.replace("exit_share.<stage>", "exit_share.[1-9]")
            for end in steps_of(path, meaning):
                found[re.sub(r"<(?!name)\w+>", "<name>", end)] = (kind.removesuffix(" or null"), unit)
    return found


def steps_of(path: str, meaning: str) -> list[str]:
    """The paths behind a pattern that stands for a few known names; some rows list these in their meaning."""
    if (listed := re.search(r"<(step|part)>$", path)) is not None:
        names = re.findall(r"`(\w+)`", meaning)
        assert len(names) > 1, path
        return [path.replace(listed[0], name) for name in names]
    if path.endswith(".<figure>"):
        return [path.replace("<figure>", figure) for figure in ("mean", "p50", "p95", "p99")]
    return [path]


EVERY = documented("summary.json") | documented("energy of a run", "energy.")
LIVE = documented("fidelity of a live run", "fidelity.")
SIMULATED = documented("fidelity of a simulation", "fidelity.")


def test_they_are_the_documented_numbers():
    """A new number of the summary needs its line in `testbed.assertions.known_figures`, or in FIGURES."""
    known = {figure.path for figure in KNOWN if figure.kind != "word"}
    assert known == set(EVERY) | set(LIVE) | set(SIMULATED)
    assert len(KNOWN) == len({figure.path for figure in KNOWN}), "each is listed once"


def test_kinds_agree_with_the_documented_types_and_units():
    for figure in KNOWN:
        if figure.kind == "word":
            continue
        kind, unit = (EVERY | LIVE | SIMULATED)[figure.path]
        if figure.kind == "count":
            assert kind == "int", figure.path
        assert (figure.kind == "truth") == (kind == "true or false"), figure.path
        assert (figure.kind == "time") == (unit == "s"), figure.path
        assert (figure.kind == "energy") == (unit == "J"), figure.path
        if figure.kind in ("share", "ratio"):
            assert (kind, unit) == ("number", ""), figure.path


def test_each_kind_of_run_has_its_own():
    for figure in KNOWN:
        only = {"live": LIVE, "simulated": SIMULATED}.get(figure.mode or "")
        if figure.path.startswith("setup_s"):
            assert figure.mode == "live"
        elif figure.kind == "word":
            assert known_figure(figure.path).words == ("held", "strained", "broken", "unknown")
        else:
            assert figure.path in (EVERY if only is None else only)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_short_name_is_its_path(figure):
    assert known_figure(figure.name) == known_figure(figure.path)
    assert short_figure(figure.path) == short_figure(figure.name) == figure
    assert known_figure(figure.name).mode is None


def test_patterns_stand_for_single_names():
    assert known_figure("fidelity.nodes.near-1.served").kind == "count"
    assert known_figure("exit_share.12").kind == "share"
    for name in ("fidelity.nodes.near.1.served", "exit_share.x", "exit_share.123", "exit_share.[1-9]", "delay_s.p95x"):
        with pytest.raises(InputError):
            known_figure(name)
