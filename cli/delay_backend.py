"""The option --backend, whose choices and help come from the registry of backends, loaded only when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testbed.network.delays.backend import DelayBackend

AUTO = "auto"


def _backends() -> Mapping[str, type[DelayBackend]]:
    from testbed.network.delays.choice import BACKENDS

    return BACKENDS


def _check(ctx: click.Context, param: click.Parameter, name: str) -> str:
    return name if name == AUTO else str(click.Choice([AUTO, *_backends()]).convert(name, param, ctx))


class _BackendOption(click.Option):
    """An option whose help names the backends and says what each is."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.metavar is None:
            backends = _backends()
            self.metavar = f"[{'|'.join([AUTO, *backends])}]"
            each = [f"{name} is {backend.summary}" for name, backend in backends.items()]
            self.help = f"{self.help} {', '.join(each)}; {AUTO} takes the first that works here."
        return super().get_help_record(ctx)


def backend_option(what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The option --backend, as a decorator; its help begins with `what`."""
    return click.option("--backend", cls=_BackendOption, callback=_check, default=AUTO, show_default=True, help=what)
