"""The steps that setup.sh repeats and those that it skips. Programs that fetch packages are stand-ins."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A Python that makes environments in which it is itself the interpreter, and has whatever pip should install. Its pip
# keeps a list of what it was asked for, and talks as pip does.
INTERPRETER = f"""#!/bin/sh
case "$*" in
"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-m pip config list") echo "$PIP_SAYS" ;;
"-m pip install"*)
    echo "$*" >>asked
    echo "WARNING: Location 'file:///srv/an-index/torch/' is ignored: it is neither a file nor a directory." >&2
    echo "Collecting torch==2.13.0"
    echo "  Downloading torch-2.13.0.whl (192.3 MB)"
    [ -t 1 ] && echo "     ---- 12.0/192.3 MB"
    echo "Installing collected packages: torch"
    [ -z "$PIP_FAILS" ] || {{ echo "ERROR: No matching distribution found for torch" >&2; exit 1; }} ;;
"-m pip"*) ;;
"-m testbed.doctor.installed"*) echo "installed:"; [ -z "$REAL_END" ] || {{ cd {ROOT}; exec {sys.executable} "$@"; }} ;;
*find_spec*) [ -z "$NO_TORCH" ] ;;
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
    for name in ("setup.sh", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(INTERPRETER)
    (programs / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    for name in ("PIP_SAYS", "PIP_FAILS", "NO_TORCH", "REAL_END"):
        monkeypatch.setenv(name, "")
    assert "installing Python packages" in set_up(tmp_path)
    return tmp_path


def call(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./setup.sh", *arguments], cwd=project, capture_output=True, text=True, check=False)


def set_up(project: Path, *arguments: str) -> str:
    done = call(project, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(project: Path) -> list[str]:
    """The packages that pip was asked to install since the last question."""
    file = project / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def begin_anew(project: Path) -> None:
    shutil.rmtree(project / ".venv")
    asked(project)


def test_the_second_time_does_nothing(project):
    asked(project)
    assert set_up(project) == ""
    assert asked(project) == []


@pytest.mark.parametrize("loss", ["dangling", "another version", "requirements"])
def test_what_has_changed_is_installed_again(project, loss):
    python = project / ".venv" / "bin" / "python"
    if loss == "requirements":
        (project / "requirements.lock").write_text("torch==0\n")
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--develop"],
        ["quickstart.yaml"],
        [""],
        ["--torch-index"],
        ["--torch-index", "cpu"],
        ["--torch-index", "--dev"],
        ["--torch-index="],
        ["--dev", "--torch-index"],
    ],
)
def test_wrong_arguments_are_usage_errors_and_do_nothing(project, arguments):
    begin_anew(project)
    done = call(project, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: ./setup.sh [--dev] [--torch-index URL]" in done.stderr
    assert asked(project) == []


def test_every_package_is_installed_by_the_lock(project):
    begin_anew(project)
    set_up(project)
    installs = asked(project)
    assert installs
    assert all("--constraint requirements.lock" in line for line in installs)


def test_it_warns_of_cuda_before_it_downloads_and_says_what_to_type(project, monkeypatch):
    monkeypatch.setenv("NO_TORCH", "1")
    begin_anew(project)
    said = set_up(project)
    assert said.index("gigabytes of CUDA libraries") < said.index("Downloading torch")
    assert "./setup.sh --torch-index URL" in said


@pytest.mark.parametrize(
    ("torch", "configuration"),
    [
        ("missing", "global.index-url='scheme:index'"),
        ("missing", ":env:.find-links='/srv/wheels'"),
        ("missing", ":env:.extra-index-url='scheme:index'"),
        ("there", ""),
    ],
)
def test_it_does_not_warn_where_torch_is_there_or_pip_is_told_an_index(project, monkeypatch, torch, configuration):
    monkeypatch.setenv("NO_TORCH", "1" if torch == "missing" else "")
    monkeypatch.setenv("PIP_SAYS", configuration)
    begin_anew(project)
    assert "CUDA libraries" not in set_up(project)


@pytest.mark.parametrize("arguments", [["--torch-index", "scheme://index/cpu"], ["--torch-index=scheme://index/cpu"]])
def test_torch_comes_from_the_index_that_is_named(project, monkeypatch, arguments):
    monkeypatch.setenv("NO_TORCH", "1")
    begin_anew(project)
    assert "CUDA libraries" not in set_up(project, *arguments)
    first, *others = asked(project)
    assert first.endswith("--no-deps --index-url scheme://index/cpu torch==2.13.0")
    assert others
    assert not any("scheme://index/cpu" in line for line in others)
    assert set_up(project, *arguments) == ""
    assert set_up(project) == ""
    # Another index replaces what the first one gave.
    assert "installing Python packages" in set_up(project, "--torch-index", "scheme://index/other")
    assert "scheme://index/other" in asked(project)[0]


def test_it_shows_downloads_without_pips_warnings_and_ends_with_what_is_installed(project, monkeypatch):
    monkeypatch.setenv("REAL_END", "1")
    begin_anew(project)
    done = call(project)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "  Downloading torch-2.13.0.whl (192.3 MB)" in lines
    assert "Collecting torch==2.13.0" not in lines
    assert "  installing them" in lines
    end = lines[lines.index("installed:") :]
    found = {line.split()[0]: line for line in end if line.startswith(" ")}
    assert {"python", "torch", "mininet", "netem"} <= set(found)
    assert "CPU build" in found["torch"] or "CUDA" in found["torch"]


def test_a_terminal_sees_pips_own_progress(project):
    begin_anew(project)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(["./setup.sh"], cwd=project, stdout=theirs, stderr=theirs)
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0
    finally:
        os.close(ours)
    assert b"12.0/192.3 MB" in said
    assert b"is ignored" not in said


def test_a_pip_that_fails_is_told_and_tried_again(project, monkeypatch):
    monkeypatch.setenv("PIP_FAILS", "1")
    begin_anew(project)
    done = call(project)
    assert done.returncode == 4
    assert "ERROR: No matching distribution found for torch" in done.stderr
    assert "error: pip could not install: " in done.stderr
    assert "installed:" not in done.stdout
    monkeypatch.setenv("PIP_FAILS", "")
    assert "installed:" in set_up(project)
