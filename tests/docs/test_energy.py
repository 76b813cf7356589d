"""docs/energy.md: its example runs as it stands there, and counts energy."""

import re

from cli.printing.energy_lines import energy_lines
from testbed.record.run_figures import BY_NAME
from tests.docs.pages import DOCS
from tests.testbed.simulated import simulate

TEXT = (DOCS / "energy.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_shows(tmp_path):
    (text,) = re.findall(r"<!-- example energy -->\n```yaml\n(.*?)```", TEXT, re.DOTALL)
    energy = simulate(tmp_path, text).summary["energy"]
    assert energy["price_s_per_j"] == 0.05
    (shown,) = re.findall(r"^    Energy     (.*(?:\n {15}.*)*)", TEXT, re.MULTILINE)
    assert [line.strip() for line in shown.splitlines()] == list(energy_lines(energy))


def test_it_names_the_short_names_of_the_figures():
    for name in ("energy", "energy_per_task", "energy_per_correct"):
        assert f"`{name}`" in TEXT
        assert BY_NAME[name].kind == "energy"
