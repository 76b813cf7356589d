"""`explain`: say where the time of a run went."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="explain", short_help="Say what limits a recorded run, or where one task's time went.")
@click.argument("run_directory", type=click.Path(path_type=Path, file_okay=False), metavar="RUN_DIR")
@click.argument("task", required=False, metavar="[TASK]")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as one JSON object instead; times in seconds.")
def command(run_directory: Path, task: str | None, as_json: bool) -> None:
    """Say where the time of the run in RUN_DIR went: the bottleneck in words, then figures.

    RUN_DIR is a directory of `run`, `simulate` or `replay`. The bottleneck is the server, link or silent receiver where
    tasks waited longest. The figures say how busy it was and what 10 % more of it would save. If tasks waited nowhere
    for long, the delay is service and propagation, and the answer says so.

    With TASK, a task's number or `slowest`, show the way of that task hop by hop.

    \b
    Examples:
      dtoee-testbed explain runs/first
      dtoee-testbed explain runs/first slowest
      dtoee-testbed explain runs/first 17 --json
    """
    import json

    if task is not None:
        from cli.printing.explain_lines import print_way
        from testbed.explain.task_way import explain_task, way_as_json

        way = explain_task(run_directory, task)
        if as_json:
            click.echo(json.dumps(way_as_json(way), indent=2, allow_nan=False))
        else:
            print_way(way)
        return
    from cli.printing.explain_lines import print_explanation
    from testbed.explain.explanation import as_json as content_of
    from testbed.explain.explanation import explain

    explanation = explain(run_directory)
    if as_json:
        click.echo(json.dumps(content_of(explanation), indent=2, allow_nan=False))
    else:
        print_explanation(explanation)
