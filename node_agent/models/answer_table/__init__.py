"""Tables of answers: models that ran elsewhere, whose answers, costs and sizes of messages are looked up.

Nothing here loads torch, except the script in `exporter.py`, which users copy into their own environment.
"""

import re
from pathlib import Path

from node_agent.models.answer_table.answers import AnswerTable, read_table
from node_agent.models.answer_table.table_model import TableModel

__all__ = ["AnswerTable", "TableModel", "exporter_text", "read_table"]


def exporter_text() -> str:
    """Return the script that writes a table in a user's own environment."""
    text = Path(__file__).with_name("exporter.py").read_text(encoding="utf-8")
    return re.sub(r"  # (noqa|fmt|type: ignore).*", "", text)  # remarks for the tools of this repository
