"""`doctor`: try everything that a run needs on this machine, and say how to install what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli.printing.columns import aligned, colour

if TYPE_CHECKING:
    from testbed.doctor import Finding

COLOURS = {"ok": "green", "fallback": "yellow", "missing": "red"}


@click.command(name="doctor", short_help="Check what this machine offers for emulation.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: `possible` (true or false) and a list of `findings`."
)
def command(as_json: bool) -> None:
    """Try everything a run can use; build a throw-away network, and measure its delay [ms] and rate [Mbit/s].

    Each line begins with `ok`, `fallback` (a run works, with something else instead) or `missing` (no run is possible).
    `=>` says what that means for a run, `->` how to mend it. The exit code is 0 if a run is possible here, else 4.
    Without root, it tries what a user namespace allows.
    """
    from testbed.host.rootless import enter_if_possible

    refused = enter_if_possible()  # before anything heavy is loaded
    from testbed.doctor import examine, require_possible

    findings = examine(refused)
    if as_json:
        possible = all(finding.state != "missing" for finding in findings)
        report = {"schema": 1, "possible": possible, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(report, indent=2))
    else:
        _print(findings)
    require_possible(findings)


def _print(findings: list[Finding]) -> None:
    rows: list[tuple[str, str, str]] = []
    for finding in findings:
        rows.append((finding.state, finding.name, finding.detail))
        rows += [("", "", f"{mark} {text}") for mark, text in (("=>", finding.means), ("->", finding.remedy)) if text]
    for (state, *_), line in zip(rows, aligned(rows, left=(0, 1, 2)), strict=True):
        click.echo(click.style(state, fg=COLOURS.get(state)) + line[len(state) :], color=colour())
