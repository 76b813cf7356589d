"""An account is the integral of a node's power over its states."""

import math

import pytest

from testbed.energy.account import Account


def test_a_node_uses_idle_power_while_it_is_up_and_more_while_it_computes():
    account = Account(idle_w=2.0, computing_w=3.0, busy_s=4.0, transfer_j=1.5)
    assert (account.idle_j(10.0), account.computing_j, account.used_j(10.0)) == (20.0, 12.0, 33.5)


def test_a_node_that_is_down_uses_none():
    account = Account(idle_w=2.0)
    account.goes_down(3.0)
    assert account.used_j(100.0) == 6.0
    account.comes_up(8.0)
    account.comes_up(9.0)  # it is up already
    assert (account.up_s(10.0), account.used_j(10.0)) == (5.0, 10.0)


def test_it_knows_when_idle_power_alone_reaches_an_energy():
    account = Account(idle_w=2.0, transfer_j=1.0)
    assert account.reaches_s(11.0, 3.0) == pytest.approx(5.0)
    assert account.reaches_s(7.0, 3.0) == 3.0
    account.goes_down(4.0)
    assert account.reaches_s(11.0, 4.0) == math.inf
    assert Account(transfer_j=1.0).reaches_s(2.0, 0.0) == math.inf
