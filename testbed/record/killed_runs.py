"""Manifests of killed runs: `clean` marks them as ended."""

from pathlib import Path

from testbed.host.ledger import killed_run_directories
from testbed.record.run_directory import close_manifest


def close_killed(root: Path | None = None) -> list[Path]:
    """Set the exit reason "killed" in manifests that dead runs left at "running"; return their run directories.

    Call this before `testbed.host.ledger.sweep`, which removes the records of these directories.
    """
    return [path for run_id, path in killed_run_directories(root) if close_manifest(path, run_id)]
