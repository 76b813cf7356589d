"""Shared by all tests."""

import signal

import pytest

from tests import belongings

pytest_plugins = ["tests.quiet", "tests.required"]


def pytest_configure(config: pytest.Config) -> None:
    """Give this session its own ledgers, and signals that work."""
    folder = belongings.begin_session()
    config.add_cleanup(lambda: belongings.end_session(folder))
    obey_signals()


def obey_signals() -> None:
    """Take Ctrl-C even if the caller had it ignored, as shells do for commands in the background.

    An ignored signal is inherited by every program that the tests start, and none of them could be interrupted.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
