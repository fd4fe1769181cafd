"""In CI a skipped browser or PostgreSQL test has failed: nobody would notice otherwise."""

import os
from collections.abc import Generator

import pytest


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
