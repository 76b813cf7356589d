"""--backend: its choices and its help are those of the registry, which is loaded only when they are asked for."""

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
    """Names the backends, and what each is, when help is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.metavar is None:
            backends = _backends()
            self.metavar = f"[{'|'.join([AUTO, *backends])}]"
            each = [f"{name} is {backend.summary}" for name, backend in backends.items()]
            self.help = f"{self.help} {', '.join(each)}; {AUTO} takes the first that can be had."
        return super().get_help_record(ctx)


def backend_option(what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The option; its help begins with `what`."""
    return click.option("--backend", cls=_BackendOption, callback=_check, default=AUTO, show_default=True, help=what)
