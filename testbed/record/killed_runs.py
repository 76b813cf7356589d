"""The manifests of runs that were killed: `clean` gives them their end."""

from pathlib import Path

from testbed.host.ledger import killed_run_directories
from testbed.record.run_directory import close_manifest


def close_killed(root: Path | None = None) -> list[Path]:
    """Give the manifests that dead runs left at "running" the exit reason "killed"; return their run directories.

    Call this before `testbed.host.ledger.sweep`, which forgets where they are.
    """
    return [path for run_id, path in killed_run_directories(root) if close_manifest(path, run_id)]
