"""Writes the tables of a run into a page, under its heading for the last run."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

HEADING = "## The last run"


def write(page: Path, tables: Iterable[Table], how: str) -> None:
    """In place of what the page says from that heading on; `how`: with what options and database."""
    before = page.read_text().partition(HEADING)[0].rstrip()
    parts = [before, HEADING, f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}; {how}.", *map(markdown, tables)]
    page.write_text("\n\n".join(parts) + "\n")


def markdown(table: Table) -> str:
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    heads, *rows = zip(*columns, strict=True)
    rule = ["---:" if column.justify == "right" else "---" for column in table.columns]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]
    return "\n".join([f"**{table.title}**", "", *lines])


def _machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} × {model}, Python {platform.python_version()}"
