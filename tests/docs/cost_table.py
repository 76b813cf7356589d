"""The table of the architectures whose costs are known, rendered from their published dimensions."""

from node_agent.models.published import available_costs, published
from tests.bench.markdown import table


def architectures() -> list[str]:
    """Return a row for each architecture: its blocks, work, input and parameters, and the source of its dimensions."""
    rows = []
    for name in available_costs():
        costs = published(name)
        (whole,) = costs.stages((costs.blocks,))
        length = "" if costs.tokens is None else f"{costs.tokens} tokens (1 to {costs.longest})"
        rows.append(
            (
                f"`{name}`", costs.title, str(costs.blocks), length, f"{whole.flop / 1e9:,.1f} GFLOP",
                f"{whole.input_bytes:,} B", f"{whole.parameters_bytes / 4e6:,.1f} million", costs.source,
            )
        )  # fmt: skip
    return table(("`cost`", "", "blocks", "length", "work", "input", "parameters", "dimensions from"), rows)
