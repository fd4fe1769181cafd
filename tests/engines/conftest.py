"""Engine programs, each ended with its test."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.programs import Program


@pytest.fixture
def start() -> Iterator[Any]:
    """`start(given(…))` runs an engine."""
    running: list[Program] = []

    def begin(*arguments: Any, **options: Any) -> Program:
        running.append(Program(*arguments, **options))
        return running[-1]

    yield begin
    for program in running:
        program.end()
