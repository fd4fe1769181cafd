"""What every provider promises. A new provider is tested here without a new line.

The checks are those of the conformance kit, which third parties run on classes of their own.
"""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.providers import registry
from connections.providers.calls import Mode
from connections.providers.conformance import everything, failures, replies, requests, streams
from connections.providers.conformance import settings as about_settings
from connections.providers.conformance.demands import Skipped
from connections.providers.conformance.replies import CONTENT_IN
from connections.providers.conformance.requests import NEEDS_TOOLS, TOOLS, sample
from connections.providers.conformance.streams import assembled
from tests.providers.conftest import files, golden_of

__all__ = ["CONTENT_IN", "NEEDS_TOOLS", "TOOLS", "assembled", "sample"]

KINDS = list(registry.providers())
SINGLY = (
    about_settings.bad_secrets_are_refused,
    requests.golden_requests_are_made,
    replies.golden_replies_are_read,
    replies.unreadable_answers_are_bad_replies,
    streams.events_without_json_are_bad_replies,
    failures.failures_have_names,
    failures.garbage_is_survived,
    failures.streams_of_garbage_are_survived,
)
"""Checks of many things, each of which is a test of its own below."""
ELSEWHERE = (streams.streams_are_recorded,)
"""Some of our streams are recorded by tests of their own, beside the golden files."""
WHOLE = [check for _, checks in everything.CHECKS for check in checks if check not in (*SINGLY, *ELSEWHERE)]


LENDERS = {lender for kind in registry.providers().values() for lender in kind.Settings.lender_kinds().values()}
"""Kinds whose connections lend what they hold to others; they need no models."""


def test_only_lenders_go_without_models():
    assert {kind.kind for kind in registry.providers().values() if not kind.modes} <= LENDERS


@pytest.mark.parametrize("check", WHOLE, ids=lambda check: check.__name__)
def test_it_keeps_the_promise(golden_provider, check):
    with suppress(Skipped):  # it does not apply: no streams, or no key that is sent as it is
        check(golden_provider)


@pytest.mark.parametrize("secret", about_settings.BAD_SECRETS, ids=lambda secret: repr(secret[:12]) + str(len(secret)))
def test_bad_secrets_are_refused_without_being_shown(golden_provider, secret):
    about_settings.bad_secrets_are_refused(golden_provider, (secret,))


def recorded(what: str) -> list[Any]:
    """The golden files of all its modes, also those that it inherits."""
    modes = [(kind, mode) for kind in KINDS for mode in sorted(registry.providers()[kind].modes)]
    found = [(kind, path) for kind, mode in modes for path in files(kind, f"{mode}_{what}*.json")]
    return [pytest.param(kind, path, id=f"{kind}-{path.stem}") for kind, path in found]


@pytest.mark.parametrize(("kind", "path"), recorded("request"))
def test_the_golden_request_is_made(kind, path):
    requests.golden_request_is_made(golden_of(kind), path)


@pytest.mark.parametrize(("kind", "path"), recorded("reply"))
def test_the_golden_reply_is_read(kind, path):
    replies.golden_reply_is_read(golden_of(kind), path)


@pytest.mark.parametrize("body", replies.UNREADABLE, ids=lambda body: repr(body[:24]))
def test_an_answer_we_cannot_read_is_a_bad_reply(golden_provider, body):
    replies.unreadable_answers_are_bad_replies(golden_provider, (body,))


@pytest.mark.parametrize("data", streams.NO_JSON, ids=lambda data: repr(data[:24]))
def test_an_event_that_is_not_json_is_a_bad_reply(golden_provider, data):
    streams.events_without_json_are_bad_replies(golden_provider, (data,))


@pytest.mark.parametrize("body", failures.BODIES, ids=range(len(failures.BODIES)))
def test_a_failure_has_a_name(golden_provider, body):
    failures.failures_have_names(golden_provider, (body,))


# --- garbage ---------------------------------------------------------------------------------------------

NAMES = [*failures.NAMES, "output_tokens", "input_tokens", "reasoning", "content_block"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
NOISE = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
TYPES = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
PARTS = ("delta", "message", "content_block", "usage")
EVENTS = st.tuples(st.sampled_from(TYPES), JSON).map(
    lambda pair: json.dumps({"type": pair[0], "index": 0, **dict.fromkeys(PARTS, pair[1])}).encode()
)
hostile = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@hostile
@given(body=NOISE)
def test_garbage_raises_nothing_but_provider_errors(golden_provider, body):
    failures.answer_is_survived(golden_provider, body)


@hostile
@given(frames=st.lists(NOISE | EVENTS, max_size=4))
def test_a_stream_of_garbage_raises_nothing_but_provider_errors(golden_provider, frames):
    provider = golden_provider.make()
    if Mode.CHAT in golden_provider.modes and provider.abilities(golden_provider.target(Mode.CHAT)).streams:
        failures.stream_is_survived(golden_provider, frames)
