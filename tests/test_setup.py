"""What setup.sh does again, and what not. The programs that fetch packages are stand-ins: nothing is downloaded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A Python that makes environments in which it is itself the interpreter, and has whatever pip should install.
INTERPRETER = f"""#!/bin/sh
case "$*" in
"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-m pip"*) ;;
*) exec {sys.executable} "$@" ;;
esac
"""
NEEDED = ("mininet", "iproute2", "iputils-ping", "procps", "python3-venv")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of what setup.sh reads, set up."""
    asked = ["dpkg", "-s", *NEEDED]
    if shutil.which("dpkg-query") is None or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("setup.sh would install packages here")
    for name in ("setup.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(INTERPRETER)
    (programs / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert "installing Python packages" in set_up(tmp_path)
    return tmp_path


def set_up(project: Path) -> str:
    done = subprocess.run(["./setup.sh"], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_second_time_does_nothing(project):
    assert set_up(project) == ""


@pytest.mark.parametrize("loss", ["dangling", "another version", "requirements"])
def test_what_has_changed_is_installed_again(project, loss):
    python = project / ".venv" / "bin" / "python"
    if loss == "requirements":
        (project / "constraints.txt").write_text("torch==0\n")
    else:
        python.unlink()
        if loss == "dangling":
            python.symlink_to("/usr/bin/python-that-was-upgraded")
        else:  # the link's name stayed, what is behind it is newer, and has no pip
            python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo "(3, 99)"\n')
            python.chmod(0o755)
    assert "installing Python packages" in set_up(project)
    assert python.read_text() == INTERPRETER
    assert set_up(project) == ""
