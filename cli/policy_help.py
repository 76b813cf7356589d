"""The list of policies in the --help of the verbs that take a policy."""

from __future__ import annotations

import click


class PolicyCommand(click.Command):
    """A verb that takes a policy: its --help ends with the policies, each with the docstring of its class."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the policies."""
        super().format_options(ctx, formatter)
        from node_agent.policies import policy_lines

        with formatter.section("Policies"):
            formatter.write_dl(list(policy_lines().items()))
