"""Torch's threads and kernels, set so that a computation repeats itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Deterministic kernels and a fixed number of threads inside the context; restores the process's settings."""
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)
