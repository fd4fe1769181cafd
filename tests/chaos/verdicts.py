"""How large a scenario is, by which seed it is played, and what came of it."""

import os
import random
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
SHEET = pytest.StashKey[list["Verdict"]]()


@dataclass
class Verdict:
    """One scenario's line in the table. A scenario with violations has failed."""

    scenario: str
    seed: int
    long: bool
    counts: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def size(self, short: T, long: T) -> T:
        return long if self.long else short

    def count(self, **counts: Any) -> None:
        self.counts |= counts

    def check(self, holds: bool, promise: str) -> None:
        if not holds:
            self.violations.append(promise)

    @property
    def line(self) -> str:
        counts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.counts.items())
        return f"| {self.scenario} | {counts} | {self.seconds:.0f} | {self.seed} | {len(self.violations)} |"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="play the chaos scenarios at full length (make chaos)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A scenario whose short form is a test elsewhere is played at full length only."""
    if not config.getoption("--long"):
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Iterator[Verdict]:
    """Named after the test's docstring."""
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")
    title = (request.function.__doc__ or request.node.name).strip().rstrip(".")
    found = Verdict(title, seed, request.config.getoption("--long"))
    request.config.stash.setdefault(SHEET, []).append(found)
    random.seed(seed)
    started = time.monotonic()
    yield found
    found.seconds = time.monotonic() - started
    print(found.line)
    assert found.violations == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What ends a scenario before its last check is a violation too."""
    report = yield
    verdict = getattr(item, "funcargs", {}).get("verdict")
    if call.when == "call" and call.excinfo and isinstance(verdict, Verdict):
        verdict.check(False, f"it is played to its end: {call.excinfo.value}")
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--long"):
        return
    terminalreporter.section("chaos")
    terminalreporter.write_line("| scenario | counts | seconds | seed | violations |\n|---|---|---|---|---|")
    for verdict in config.stash.get(SHEET, []):
        terminalreporter.write_line(verdict.line)
        for violation in verdict.violations:
            terminalreporter.write_line(f"    VIOLATED: {violation}")
