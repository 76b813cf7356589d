"""`model exporter` prints the script, and nothing else, so that a shell can write it into a file."""

from node_agent.models.answer_table import exporter_text
from tests.cli.called import exit_code_of


def test_it_prints_the_script(capsys):
    assert exit_code_of("model", "exporter") == 0
    printed = capsys.readouterr()
    assert printed.out == exporter_text()
    assert printed.err == ""
    compile(printed.out, "export_table.py", "exec")
