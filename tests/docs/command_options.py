"""The table of the commands and their options, rendered from the command line itself."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from cli.main import COMMANDS, commands
from tests.bench.markdown import table


def every_command() -> Iterator[tuple[str, click.Command]]:
    """The commands of `dtoee-testbed` by what is typed, those of groups included."""
    for verb in COMMANDS:
        command = commands.get_command(click.Context(commands), verb)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{verb} {name}", each) for name, each in sorted(command.commands.items()))
        else:
            yield verb, command


def options() -> list[str]:
    """For each command its arguments, its first line of help and a table of its options."""
    lines = []
    for name, command in every_command():
        context = click.Context(command, info_name=name)
        arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
        lines += ["", f"### {' '.join(('`' + name + '`', *(f'`{each}`' for each in arguments)))}", ""]
        lines += [_first_paragraph(command.help or ""), ""]
        records = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
        rows = [(_escaped(f"`{record[0]}`"), _escaped(record[1])) for record in records if record is not None]
        lines += table(("option", ""), rows) if rows else []
    return [*lines, ""]


def _first_paragraph(text: str) -> str:
    return " ".join(cleandoc(text).split("\n\n")[0].split())


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
