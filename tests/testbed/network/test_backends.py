"""The registry of delay backends: its entries can be chosen by name, are examined, and are preferred in its order."""

import re

import pytest
from click.testing import CliRunner

from cli import compare, run
from node_agent.errors import EnvironmentLacking, InputError
from testbed.doctor import examination, kernel
from testbed.network.delays import choice
from testbed.network.delays.backend import Trial
from testbed.network.delays.choice import BACKENDS, choose_backend
from testbed.network.delays.netem_delay import NetemDelay
from testbed.network.delays.relay_delay import RelayDelay


class LuckyDelay(RelayDelay):
    """A new backend that works."""

    name = "lucky"
    summary = "a friend"
    examined_as = "luck (link delays)"


class UnluckyDelay(NetemDelay):
    """A new backend that does not work on this machine."""

    name = "unlucky"
    examined_as = "more luck (link delays)"

    @staticmethod
    def trial():
        return Trial(works=False, trouble="no luck today", means="delays are real", module="sch_luck")


@pytest.fixture
def more(monkeypatch):
    """The registry with two more backends in front."""
    every = {backend.name: backend for backend in (UnluckyDelay, LuckyDelay, *BACKENDS.values())}
    for module in (choice, kernel):
        monkeypatch.setattr(module, "BACKENDS", every)


def test_names_are_those_that_manifests_have_always_had():
    assert {"netem": NetemDelay, "userspace": RelayDelay} == BACKENDS
    for name, backend in BACKENDS.items():
        assert backend.name == name
        assert backend.examined_as in examination.NOT_TRIED


@pytest.mark.usefixtures("more")
def test_the_first_that_works_is_taken():
    assert type(choose_backend("auto")) is LuckyDelay
    assert type(choose_backend("userspace")) is RelayDelay


@pytest.mark.usefixtures("more")
def test_one_that_is_asked_for_must_work():
    with pytest.raises(EnvironmentLacking, match="unlucky cannot be used: no luck today") as refused:
        choose_backend("unlucky")
    assert refused.value.hint == "load the module sch_luck, or choose the lucky or netem or userspace backend"


def test_an_unknown_one_is_told_with_the_likely_name():
    with pytest.raises(InputError, match="no delay backend 'netm'") as refused:
        choose_backend("netm")
    assert refused.value.hint == "did you mean netem?"


@pytest.mark.usefixtures("more")
@pytest.mark.parametrize("command", [run.command, compare.command])
def test_the_command_line_knows_them_all(monkeypatch, command):
    option = next(each for each in command.params if each.name == "backend")
    monkeypatch.setattr(option, "metavar", None)
    monkeypatch.setattr(option, "help", option.help.partition(":")[0] + ":")
    shown = re.sub(r"\s+", " ", CliRunner().invoke(command, ["--help"]).output)
    assert "--backend [auto|unlucky|lucky|netem|userspace]" in shown
    assert "lucky is a friend, netem is the kernel" in shown
    refused = CliRunner().invoke(command, ["t.yaml", "--backend", "netm"])
    assert refused.exit_code == 2
    assert "'netm' is not one of 'auto', 'unlucky', 'lucky', 'netem', 'userspace'" in refused.output


@pytest.mark.root
@pytest.mark.usefixtures("more")
def test_doctor_tries_every_one():
    found = {finding.name: finding for finding in kernel.network()}
    unlucky = found["more luck (link delays)"]
    assert (unlucky.state, unlucky.detail, unlucky.means) == ("fallback", "no luck today", "delays are real")
    assert found["luck (link delays)"].state == found["packet ring (user-space delays)"].state
