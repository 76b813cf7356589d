"""Fairness over devices: how equal the mean delays of the devices are."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class DeviceMean(NamedTuple):
    """The mean delay of a device's counted tasks."""

    device: str
    tasks: int
    mean_s: float  # [s]


def device_means(delays: Iterable[tuple[str, float]]) -> list[DeviceMean]:
    """Return the mean delay of every device, in the order in which the devices come first.

    Args:
        delays: (device, delay [s]) of each counted task.
    """
    sums: dict[str, list[float]] = {}
    for device, delay_s in delays:
        sums.setdefault(device, []).append(delay_s)
    return [DeviceMean(device, len(each), sum(each) / len(each)) for device, each in sums.items()]


def jain_index(values: Iterable[float]) -> float | None:
    """Return Jain's index, (sum x)^2 / (n sum x^2): 1 if all n are equal, 1/n if only one is not zero.

    Source: Jain, Chiu and Hawe, "A quantitative measure of fairness and discrimination for resource allocation in
    shared computer systems", DEC-TR-301, 1984. None without a value, or if all are zero.

    >>> jain_index([2.0, 2.0]), jain_index([1.0, 0.0, 0.0, 0.0])
    (1.0, 0.25)
    """
    kept = list(values)
    squares = sum(value * value for value in kept)
    return sum(kept) ** 2 / (len(kept) * squares) if squares else None


def fairness_fields(delays: Iterable[tuple[str, float]]) -> Mapping[str, object]:
    """Return the `fairness` of summary.json from (device, delay [s]) of each counted task."""
    devices = device_means(delays)
    if not devices:
        return {"jain": None, "worst_over_mean": None, "worst_device": None, "devices": 0}
    mean_s = sum(each.mean_s for each in devices) / len(devices)
    worst = max(devices, key=lambda each: each.mean_s)
    return {
        "jain": jain_index(each.mean_s for each in devices),
        "worst_over_mean": worst.mean_s / mean_s if mean_s else None,
        "worst_device": worst.device,
        "devices": len(devices),
    }
