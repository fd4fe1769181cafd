"""What did not run is told. In CI a skipped browser or PostgreSQL test has failed: nobody would notice otherwise."""

import os
from collections.abc import Generator, Sequence
from typing import Any

import pytest

LEFT_OUT = pytest.StashKey[int]()
"""How many tests with real servers of others were not picked."""


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    peers = [item for item in items if item.get_closest_marker("peer")]
    for item in peers[:1]:
        item.config.stash[LEFT_OUT] = item.config.stash.get(LEFT_OUT, 0) + len(peers)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells the one that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{count} tests with real servers of others were left out: make test-peers")


def must_run(item: pytest.Item) -> bool:
    on_postgres = os.environ.get("DATABASE_URL", "").startswith("postgres")
    return os.environ.get("CI") == "true" and (
        item.get_closest_marker("browser") is not None
        or (on_postgres and item.get_closest_marker("postgres") is not None)
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and must_run(item):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"May not be skipped in CI. {reason}"
    return report
