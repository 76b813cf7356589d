"""What the policies do, in the --help of the verbs that take one."""

from __future__ import annotations

import click


class PolicyCommand(click.Command):
    """A verb that takes a policy: its --help ends with a line on each, from the docstring of the policy's class."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the policies."""
        super().format_options(ctx, formatter)
        from node_agent.policies import policy_lines

        with formatter.section("Policies"):
            formatter.write_dl(list(policy_lines().items()))
