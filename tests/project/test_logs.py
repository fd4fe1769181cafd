"""O1: log lines are JSON, one line each, and show no variables of a crash."""

import io
import json
import logging

import pytest
import structlog
from django.conf import settings

from access import keys
from llmmesh import logs


@pytest.fixture
def lines():
    """What a logger with our formatter writes."""
    formatter = dict(logs.configuration("WARNING")["formatters"]["json"])
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter.pop("()")(**formatter))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: stream.getvalue().splitlines()
    root.removeHandler(handler)


@pytest.mark.parametrize("log", [structlog.get_logger("ours"), logging.getLogger("theirs")])
def test_a_hostile_text_stays_one_json_line(lines, log):
    log.warning("name\nwith\r\x1b[31m everything\0")

    assert json.loads(lines()[-1])["event"] == "name\nwith\r\x1b[31m everything\0"
    assert "\x1b" not in lines()[-1]
    assert len(lines()) == 1


def test_a_crash_is_told_without_variables(lines):
    def crash(secret: str) -> None:
        raise ValueError("something broke")

    canary = keys.new_key()[16:]
    try:
        crash(canary)
    except ValueError:
        logging.getLogger("theirs").exception("It crashed")

    said = json.loads(lines()[-1])
    assert "something broke" in said["exception"]
    assert canary not in lines()[-1]


def test_a_key_that_is_logged_all_the_same_is_masked(lines):
    key = keys.new_key()

    logging.getLogger("theirs").error("refused %s", key)

    assert json.loads(lines()[-1])["event"] == f"refused {key[:15]}_…"


def test_the_settings_use_it():
    assert settings.LOGGING["root"]["handlers"] == ["stderr"]


def test_no_line_is_written_for_each_request():
    assert settings.LOGGING["loggers"]["uvicorn.access"] == {"handlers": [], "propagate": False}


@pytest.mark.parametrize(("asked", "given"), [("DEBUG", "INFO"), ("INFO", "INFO"), ("ERROR", "ERROR")])
def test_the_library_that_signs_requests_writes_no_tokens(asked, given):
    assert logs.configuration(asked)["loggers"]["botocore"]["level"] == given
