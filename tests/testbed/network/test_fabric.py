"""Nodes whose shells do not start."""

import os

import pytest

from node_agent.errors import EnvironmentLacking

# Passes the trial before the network is made, as if a limit on namespaces were reached only later.
MNEXEC = """#!/bin/sh
case "$*" in *-v*) exit 0 ;; esac
echo "mnexec: unshare: No space left on device"
exit 1
"""


@pytest.mark.root
def test_a_shell_that_does_not_start_is_told_with_what_it_said(tmp_path, monkeypatch):
    from testbed.network.fabric import empty_network, need_namespaces, settle  # needs mininet

    program = tmp_path / "mnexec"
    program.write_text(MNEXEC)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    need_namespaces()
    net = empty_network()
    net.addHost("n0", ip="10.64.0.1")
    try:
        with pytest.raises(EnvironmentLacking, match=r"^the shell of n0 did not start: .*No space left on device"):
            settle(net.hosts)
    finally:
        net.stop()
