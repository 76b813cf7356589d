"""The `dtoee-testbed` command: find the verb, load only its module, and turn a failure into one clear line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from node_agent.errors import TestbedError

# Each verb is the `command` of the module of its name. The help texts stand here so that --help loads no module.
COMMANDS = {
    "run": "Run an experiment from a topology file.",
    "replay": "Run again what a run directory recorded.",
    "simulate": "Run the same nodes in virtual time, without root.",
    "compare": "Run several policies on the same workloads and compare them.",
    "sweep": "Run policies over a grid or sample of values.",
    "frontier": "Trace accuracy against delay, by policy.",
    "capacity": "Find the highest load at which an objective holds.",
    "agree": "Run a topology live and simulated, and compare the two.",
    "optimum": "Compute the best plan for a topology, and a bound on any plan.",
    "explain": "Say what limits a recorded run, or where one task's time went.",
    "topology": "Validate topology files, or print their JSON Schema.",
    "trace": "Generate, import, convert or inspect traces of workloads and of links.",
    "model": "List, profile or train early-exit models.",
    "cluster": "Make the keys of a cluster of machines.",
    "doctor": "Check what this machine offers for emulation.",
    "clean": "Remove what an interrupted run left behind.",
}


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if verb not in COMMANDS and not verb.startswith("-"):
            # click's own suggestion would import every verb; the names are enough.
            from node_agent.suggest import closest

            guess = closest(verb, COMMANDS)
            advice = f" Did you mean {guess!r}?" if guess is not None else ""
            ctx.fail(f"No such command {verb!r}.{advice}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"dtoee-testbed {version('dtoee-testbed')}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def commands() -> None:
    """Emulate collaborative early-exit inference at the network edge.

    Builds a network from a topology file, runs a real sub-model on every server and lets an offloading policy adapt
    over live messages.

    \b
    First steps:
      dtoee-testbed doctor                               what works on this machine
      dtoee-testbed simulate topologies/quickstart.yaml  in virtual time, no root
      dtoee-testbed run topologies/quickstart.yaml       on a real network
      dtoee-testbed COMMAND --help                       options and examples

    \b
    Exit codes: 0 success; 1 a run or the program failed; 2 wrong usage;
    3 invalid input; 4 this machine lacks something; 5 the run ended well,
    but its emulation did not hold (with --require-fidelity), or a figure
    missed its bound (--assert); 130 interrupted (Ctrl-C).
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and end the process with its exit code (see `TestbedError.exit_code`).

    Args:
        arguments: the words after `dtoee-testbed`; None takes those of the process.
    """
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = commands.main(
            args=None if arguments is None else list(arguments), prog_name="dtoee-testbed", standalone_mode=False
        )
        sys.stdout.flush()
    except TestbedError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The reader of our output is gone. Without the redirection Python would complain again at exit. click ends with
        # the same exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        click.echo(f"error: {error}", err=True)  # a full disk, an unreadable file: not a fault of the program
        return 1
    return result if isinstance(result, int) else 0
