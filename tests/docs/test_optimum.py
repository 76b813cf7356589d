"""docs/optimum.md shows what the command prints, and states the limits that the code has."""

from click.testing import CliRunner

from cli.main import commands
from testbed.optimum.flow_model import MOST_TRACED_SEGMENTS
from testbed.optimum.task_replay import MOST_TIMES
from testbed.optimum.threshold_search import MOST_LINKS
from tests.docs.pages import DOCS, ROOT

TEXT = (DOCS / "optimum.md").read_text(encoding="utf-8")


def test_the_output_is_that_of_the_command():
    result = CliRunner().invoke(commands, ["optimum", str(ROOT / "topologies/quickstart.yaml")])
    assert result.exit_code == 0
    table = "".join(f"    {line}\n" for line in result.output.partition("\n\n")[0].splitlines())
    assert table in TEXT


def test_the_limits_are_those_of_the_code():
    assert f"at most {MOST_TRACED_SEGMENTS} segments" in TEXT
    assert f"up to {MOST_TIMES} times" in TEXT
    assert f"up to {MOST_LINKS:,} links" in TEXT
