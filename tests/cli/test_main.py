"""The command line's frame: quick help, exit codes, one clear line per failure."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from cli import main as cli_main
from node_agent.errors import EnvironmentLacking, InputError
from node_agent.policies import policy_lines

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a user would."""
    code = "from cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


@pytest.mark.timing
def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    begun = os.times()
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from cli.main import main; main()", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    ended = os.times()
    assert result.returncode == 0
    for verb in cli_main.COMMANDS:
        assert f"\n  {verb} " in result.stdout
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not loaded & {"rich", "torch", "numpy", "pydantic", "scipy", "yaml", "zmq", "mininet", "testbed", "msgspec"}
    spent_s = ended.children_user + ended.children_system - begun.children_user - begun.children_system
    assert spent_s < 0.3


def test_every_verb_has_its_module_and_the_table_says_what_it_does() -> None:
    """The table is apart from the verbs so that `--help` loads none: it must agree with the help of each verb."""
    context = click.Context(cli_main.commands)
    assert cli_main.commands.list_commands(context) == list(cli_main.COMMANDS)
    for verb, text in cli_main.COMMANDS.items():
        assert (ROOT / "cli" / f"{verb}.py").is_file()
        command = cli_main.commands.get_command(context, verb)
        assert command is not None
        assert (command.name, command.get_short_help_str(limit=200)) == (verb, text)
    holding_commands = {path.stem for path in (ROOT / "cli").glob("*.py") if "\ndef command(" in path.read_text()}
    assert holding_commands == set(cli_main.COMMANDS)


@pytest.mark.parametrize("verb", ["run", "simulate", "replay", "compare", "agree"])
def test_the_help_of_a_verb_that_takes_a_policy_says_what_each_does(verb: str) -> None:
    printed = " ".join(run(verb, "--help").stdout.split("Policies:")[1].split())
    for name, line in policy_lines().items():
        assert f"{name} {line}" in printed


def test_version() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, "dtoee-testbed 0.2.0\n")


def test_wrong_usage_ends_with_2_and_a_suggestion() -> None:
    result = run("tpology")
    assert result.returncode == 2
    assert "Did you mean 'topology'?" in result.stderr
    assert result.stdout == ""
    assert run("topology", "validate").returncode == 2
    assert run("--no-such-option").returncode == 2
    assert run().returncode == 2


def test_a_failure_is_one_line_and_a_hint() -> None:
    result = run("trace", "inspect", "/no/such/file")
    assert result.returncode == 3
    assert result.stderr.splitlines() == [
        "error: /no/such/file: cannot be read: No such file or directory",
        "hint: give the path of a trace; `trace generate` and `trace generate-link` make some",
    ]
    assert result.stdout == ""


def _command_that(action: Callable[[], object]) -> click.Command:
    return click.Command("probe", callback=action)


def _exit_code(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> int:
    command = _command_that(action)
    monkeypatch.setitem(cli_main.COMMANDS, "probe", "Probe.")
    monkeypatch.setattr(cli_main.LazyGroup, "get_command", lambda *_: command)
    with pytest.raises(SystemExit) as caught:
        cli_main.main(["probe"])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _raising(error: BaseException) -> Callable[[], object]:
    def action() -> object:
        raise error

    return action


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda: None, 0),
        (lambda: 5, 5),
        (_raising(InputError("wrong")), 3),
        (_raising(EnvironmentLacking("no root", hint="use sudo")), 4),
        (_raising(KeyboardInterrupt()), 130),
        (_raising(click.UsageError("no")), 2),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], code: int) -> None:
    assert _exit_code(monkeypatch, action) == code


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        _exit_code(monkeypatch, _raising(ZeroDivisionError()))


@pytest.mark.parametrize("arguments", [("topology", "schema"), ("--version",)])
def test_a_reader_that_leaves_early_is_no_failure_to_talk_about(arguments: tuple[str, ...]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        code = "from cli.main import main; main()"
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=write_end, stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    finally:
        os.close(write_end)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.timing
def test_interrupt_ends_with_130() -> None:
    code = "import sys, time\nfrom cli import main as m\nimport click\n" + (
        "m.COMMANDS['nap'] = 'Nap.'\n"
        "def nap():\n    print('up', flush=True)\n    time.sleep(60)\n"
        "m.LazyGroup.get_command = lambda *_: click.Command('nap', callback=nap)\n"
        "m.main(['nap'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    time.sleep(0.05)
    process.send_signal(2)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (out, err.strip()) == (b"", b"")  # a line feed ends the terminal's ^C
