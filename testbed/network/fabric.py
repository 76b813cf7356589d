"""Mininet's own objects, made so that building them starts no command: the plan sets everything up in batches.

Mininet runs a shell command for each address, interface and queueing discipline, one after the other. These subclasses
keep its Node, Link, Intf and LinuxBridge objects (so that `net["n0"].cmd(...)`, `popen`, `IP()` and `linksBetween` keep
working) and leave the commands to `commands.run_batches`.

Decision 031: batches set the network up, and all shells start together
(docs/decisions/031-set-up-in-batches-by-threads.md).

This module imports mininet: import it only where a network is built.
"""

import os
import select
import shutil
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from mininet.link import Intf, Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host
from mininet.nodelib import LinuxBridge

from node_agent.errors import EnvironmentLacking
from testbed.host.rootless import CONTAINER

PROMPT = chr(127)  # of Mininet's shells
LOCAL_MODES = 3  # index into the result of tcgetattr
CONTAINER_HINT = f"in a container: {CONTAINER}"
GLANCE_MS = 50  # how often a silent shell is checked


def _need_mnexec() -> None:
    if shutil.which("mnexec") is None:
        raise EnvironmentLacking("mnexec is missing", hint="apt-get install mininet")


def need_namespaces() -> None:
    """Raise EnvironmentLacking unless a node's shell can be started.

    Mininet would wait forever for a shell that mnexec cannot start.
    """
    _need_mnexec()
    done = subprocess.run(["mnexec", "-n", "mnexec", "-v"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        trouble = done.stderr.strip() or f"exit status {done.returncode}"
        raise EnvironmentLacking(f"mnexec cannot make a namespace: {trouble}", hint=CONTAINER_HINT)


class PlannedIntf(Intf):  # type: ignore[misc]  # mininet has no types
    """An interface whose address the plan sets."""

    def config(self, **_params: object) -> dict[str, object]:
        """Do nothing: the plan's batch configures the interface."""
        return {}

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Remember the address; the plan's batch sets it."""
        self.ip, self.prefixLen = ipstr, prefixLen if prefixLen is not None else 32
        return ""


class _Shell:
    """A mixin for Mininet nodes: starts the node's shell without waiting, so that all start together (see `settle`)."""

    _starting = False

    def startShell(self, mnopts: str | None = None) -> None:
        """Start the shell without waiting for its prompt."""
        del mnopts
        self._starting = True
        super().startShell("-d")  # type: ignore[misc]
        self._starting = False

    def _popen(self, cmd: list[str], **params: object) -> object:
        if self._starting:
            params["close_fds"] = True  # in one call; mnexec would close every possible descriptor singly
        return super()._popen(cmd, **params)  # type: ignore[misc]

    def read(self, size: int = 1024) -> str:
        return PROMPT if self._starting else super().read(size)  # type: ignore[misc]

    def cmd(self, *args: object, **kwargs: object) -> str:
        return "" if self._starting else super().cmd(*args, **kwargs)  # type: ignore[misc]


class PlannedHost(_Shell, Host):  # type: ignore[misc]
    """A host that the plan configures."""

    isSetup = False

    @classmethod
    def setup(cls) -> None:
        """Require mnexec only (Mininet also requires ifconfig, and exits without it)."""
        _need_mnexec()

    def config(self, **_params: object) -> dict[str, object]:
        """Do nothing: the plan's batch configures the host."""
        return {}


class PlannedBridge(_Shell, LinuxBridge):  # type: ignore[misc]
    """A Linux bridge in a namespace of its own; it disappears with that namespace."""

    isSetup = False

    @classmethod
    def setup(cls) -> None:
        """Require mnexec only: ip makes the bridge, without brctl."""
        _need_mnexec()

    def start(self, _controllers: object) -> None:
        """Do nothing: the plan's batch has made the bridge."""

    def stop(self, deleteIntfs: bool = True) -> None:  # Mininet's signature
        """Do nothing: `terminate` ends the namespace and everything in it."""


class ReadyLink(Link):  # type: ignore[misc]
    """A veth pair that the plan makes."""

    @classmethod
    def makeIntfPair(cls, *_args: object, **_params: object) -> None:
        """Do nothing: the plan's batch makes all pairs at once."""

    def stop(self) -> None:
        """Do nothing: the pair disappears with its namespaces."""


def settle(nodes: Sequence[Any], names: Mapping[str, str] | None = None) -> None:
    """Wait until the shells of all these nodes are ready. Before that, even their namespaces may be missing.

    Args:
        names: users' names of the nodes, by Mininet's names.

    Raises:
        EnvironmentLacking: a shell did not start.
    """
    known_as = names or {}
    for node in nodes:
        _await_prompt(node, known_as.get(node.name, node.name))
        modes = termios.tcgetattr(node.slave)
        modes[LOCAL_MODES] &= ~termios.ECHO
        termios.tcsetattr(node.slave, termios.TCSANOW, modes)
        node.sendCmd("unset HISTFILE; set +m")
    for node in nodes:
        node.waitOutput()


def _await_prompt(node: Host, name: str) -> None:
    """Read up to the prompt. The terminal does not report the shell's end: this process holds its other end."""
    terminal, said = select.poll(), ""
    terminal.register(node.stdout, select.POLLIN)
    while not said.endswith(PROMPT):
        if terminal.poll(GLANCE_MS):
            said += node.read(1024)
        elif node.shell.poll() is not None:
            trouble = said.strip() or f"exit status {node.shell.returncode}"
            raise EnvironmentLacking(f"the shell of {name} did not start: {trouble}", hint=CONTAINER_HINT)


def empty_network() -> Mininet:
    """A Mininet without controller, with nodes and links of the planned kinds; call `settle` on its nodes.

    Raises:
        EnvironmentLacking: this process is not root.
    """
    if os.geteuid() != 0:
        raise EnvironmentLacking("building a network needs root", hint="run as root, for example with sudo")
    setLogLevel("error")  # Mininet warns of missing steps that the plan does instead
    # Mininet would raise system-wide limits (buffer sizes, file-max) and never lower them again. The only limit needed
    # here, on file descriptors, belongs to this process, and the caller raises it.
    Mininet.inited = True
    return Mininet(
        topo=None,
        build=False,
        controller=None,
        host=PlannedHost,
        switch=PlannedBridge,
        link=ReadyLink,
        intf=PlannedIntf,
    )
