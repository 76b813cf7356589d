"""An error about an interpreter that this user cannot start names the closed folder."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.host.interpreter import closed_folder, interpreter
from tests.testbed.host import nobody

ROOT = Path(__file__).parents[3]


def test_the_running_interpreter_can_be_started():
    assert interpreter() == sys.executable
    assert closed_folder(Path(sys.executable)) is None


# Imports everything first: later, as a user who cannot read the closed folder, it could import nothing from there.
AS_NOBODY = """
import os, sys
import testbed.live.launcher, testbed.network.delays.relay_delay, testbed.doctor.software, testbed.doctor.kernel
from pathlib import Path
from cli.main import main
import cli.main

sys.executable = sys.argv[1]
folder = Path(sys.argv[2])

class Middle:
    def popen(self, *arguments, **options):
        raise AssertionError("started")

class Ledger:
    directory = folder

def launch():
    testbed.live.launcher.Launcher(Ledger, folder / "log").begin(None, measure_cpu=False)

def relay():
    testbed.network.delays.relay_delay.RelayDelay().start(Middle(), (), 1, Ledger)

def torch():
    print(testbed.doctor.software.TorchTrial().finding().detail, file=sys.stderr)
    sys.exit(4)

action = {"launch": launch, "relay": relay, "torch": torch}[sys.argv[3]]
cli.main.commands.main = lambda **_: action()
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
main([])
"""


@pytest.mark.root
@pytest.mark.parametrize("action", ["launch", "relay", "torch"])
def test_the_closed_folder_is_named_to_an_ordinary_user(action):
    with nobody.home() as home:
        closed = home / "closed"
        (closed / "bin").mkdir(parents=True)
        (closed / "bin" / "python").write_text("#!/bin/sh\n")
        (closed / "bin" / "python").chmod(0o755)
        closed.chmod(stat.S_IRWXU)  # root's: the user is nobody
        link = home / "python"
        link.symlink_to("closed/bin/python")
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(link), str(home), action],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 4, done.stderr
        reason = f"it lies in {closed}, a folder that this user cannot read"
        assert f"user nobody cannot start the Python interpreter {link}: {reason}" in done.stderr
        assert "Errno" not in done.stderr


@pytest.mark.root
def test_setup_says_so_instead_of_installing_anew():
    with nobody.home() as home:
        closed = home / "closed"
        closed.mkdir()
        (closed / "python").symlink_to(sys.executable)
        closed.chmod(stat.S_IRWXU)
        for name in ("setup.sh", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, home)
        (home / ".venv" / "bin").mkdir(parents=True)
        (home / ".venv" / "bin" / "python").symlink_to(closed / "python")
        for path in (home / ".venv", home / ".venv" / "bin"):
            os.chown(path, nobody.NOBODY.pw_uid, nobody.NOBODY.pw_gid)
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "./setup.sh"],
            cwd=home, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 4
        assert f"user nobody cannot start .venv/bin/python: it lies in {closed}, a folder" in done.stderr
        assert done.stdout == ""
