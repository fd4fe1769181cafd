"""Access tokens against a real token service: fetched once, renewed in time, never shown."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from connections import runtime
from connections.exchange import Exchange
from connections.providers.calls import Answer, Call, Mode, Outgoing, Target
from connections.providers.errors import KeyRefused, Overloaded, RateLimited
from connections.providers.fields import OpenAIUrl
from connections.providers.oauth import AccessToken, TokenRequest, client_credentials, refresh_token
from connections.providers.openai_dialect import OpenAIDialect
from connections.providers.settings import ProviderSettings
from connections.transport import NetworkOptions, Timeouts
from tests.streamed import chunks_of
from tests.upstream.faults import Fault
from tests.upstream.oauth import CLIENT, REFRESH, TOKEN

HELLO = {"messages": [{"role": "user", "content": "one two"}]}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Guarded(OpenAIDialect):
    """A server that takes tokens only."""

    class Settings(ProviderSettings):
        base_url: OpenAIUrl

    def __init__(self, url: str, auth: AccessToken) -> None:
        self._given = auth
        super().__init__(self.Settings(base_url=url))

    settings: Settings

    @property
    def base_url(self) -> str:
        return self.settings.base_url

    def signing_in(self) -> AccessToken:
        return self._given


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(upstream, clock):
    """`service("basic", scope="all")` gives an Auth that asks the upstream's token service."""

    def make(way: str = "post", *, secret: str = "", scope: str = "", headers: Mapping[str, str] | None = None):
        url = f"{upstream.url('oauth')}/{way}/token"
        request = client_credentials(url, CLIENT, secret or upstream.key, scope, basic=way == "basic")
        return AccessToken(request, headers, clock=clock)

    return make


@pytest.fixture
async def exchange(upstream):
    transport = await runtime.transport()

    def make(auth: AccessToken) -> Exchange:
        return Exchange(transport, Guarded(upstream.url("guarded"), auth), NetworkOptions(), Timeouts())

    return make


def a_call() -> Call:
    return Call(Mode.CHAT, Target("local-chat"), dict(HELLO))


def tokens(upstream) -> list[str]:
    """The proof of each request that was not one for a token; `-` for those."""
    return [
        "-" if request.dialect == "oauth" else request.headers.get("authorization", "").removeprefix(f"Bearer {TOKEN}")
        for request in upstream.requests
    ]


# --- the token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["post", "basic"])
async def test_the_client_gets_a_token_and_uses_it(upstream, service, exchange, way):
    calls = exchange(service(way, scope="all-apis"))

    for _ in range(3):
        assert b"one two" in (await calls.ask(a_call())).body

    assert tokens(upstream) == ["-", "call-1", "call-1", "call-1"]


async def test_twenty_calls_at_once_ask_for_one_token(upstream, service, exchange):
    calls = exchange(service())

    await asyncio.gather(*(calls.ask(a_call()) for _ in range(20)))

    assert tokens(upstream) == ["-"] + ["call-1"] * 20


async def test_a_token_is_renewed_before_it_runs_out(upstream, service, exchange, clock):
    calls = exchange(service())
    for seconds in (0, 3299, 2):
        clock.now += seconds
        await calls.ask(a_call())

    assert tokens(upstream) == ["-", "call-1", "call-1", "-", "call-4"]


async def test_a_refused_token_is_renewed_once(upstream, service, exchange):
    calls = exchange(service())
    await calls.ask(a_call())
    upstream.script(Fault.status(401))

    await calls.ask(a_call())

    assert tokens(upstream) == ["-", "call-1", "call-1", "-", "call-4"]


async def test_calls_refused_together_cost_one_new_token(upstream, service, exchange):
    calls = exchange(service())
    await calls.ask(a_call())
    together, renewed = asyncio.Barrier(8), asyncio.Event()

    async def refuse_the_first_token(answering):
        """Half of the calls learn it after the others have a new token already."""
        if answering.request.headers.get("authorization", "").endswith("call-1"):
            if await together.wait() % 2:
                await renewed.wait()
            await answering.whole(401, b"{}")
            return
        await answering.answer()
        if answering.request.dialect == "guarded":
            renewed.set()

    upstream.always(Fault("stale", refuse_the_first_token))

    await asyncio.gather(*(calls.ask(a_call()) for _ in range(8)))

    assert tokens(upstream)[:10] == ["-"] + ["call-1"] * 9
    assert tokens(upstream).count("-") == 2


async def test_a_service_that_refuses_every_token_is_not_flooded(upstream, service, exchange):
    calls = exchange(service())
    upstream.script(Fault.answer(), *[Fault.status(401), Fault.answer(), *[Fault.status(401)] * 5])

    for _ in range(3):
        with pytest.raises(KeyRefused):
            await calls.ask(a_call())

    assert tokens(upstream).count("-") == 2


async def test_a_stream_gets_a_new_token_too(upstream, service, exchange):
    calls = exchange(service())
    upstream.script(Fault.answer(), Fault.status(401))
    call = a_call()
    call.stream = True

    async with calls.stream(call) as stream:
        chunks = await chunks_of(stream)

    assert len(chunks) > 2
    assert tokens(upstream) == ["-", "call-1", "-", "call-3"]


async def test_headers_that_stay_the_same_go_along(upstream, service, exchange):
    await exchange(service(headers={"Ocp-Apim-Subscription-Key": "apim-1"})).ask(a_call())

    service_request, call = upstream.requests
    assert "ocp-apim-subscription-key" not in service_request.headers
    assert call.headers["ocp-apim-subscription-key"] == "apim-1"


async def test_a_refresh_token_is_replaced_by_the_newest(upstream, exchange, clock):
    url = f"{upstream.url('oauth')}/post/token"
    calls = exchange(AccessToken(refresh_token(url, REFRESH, CLIENT, upstream.key), clock=clock))

    await calls.ask(a_call())
    clock.now += 4000
    await calls.ask(a_call())

    asked = [request.body.decode() for request in upstream.requests if request.dialect == "oauth"]
    assert f"refresh_token={REFRESH}&" in asked[0]
    assert f"refresh_token={REFRESH}-call-1&" in asked[1]


# --- refusals --------------------------------------------------------------------------------------------


async def refused(calls: Exchange, kind=KeyRefused):
    with pytest.raises(kind) as caught:
        await calls.ask(a_call())
    return caught.value


async def test_a_wrong_secret_is_named_and_not_shown(service, exchange):
    error = await refused(exchange(service(secret="wrong-canary-5tGh8Lq2")))

    assert "client secret" in error.message
    assert "AADSTS7000215" in error.evidence
    assert "wrong-canary" not in f"{error} {error!r} {error.evidence}"


async def test_a_wrong_scope_is_named(service, exchange):
    error = await refused(exchange(service(scope="unknown/.default")))

    assert "scope" in error.message
    assert "unknown/.default" in error.evidence


async def test_a_refresh_token_that_ran_out_is_named(upstream, exchange):
    url = f"{upstream.url('oauth')}/post/token"

    error = await refused(exchange(AccessToken(refresh_token(url, "old-canary-3kP9", CLIENT, upstream.key))))

    assert "expired" in error.message


@pytest.mark.parametrize(
    "fault",
    [
        Fault.html(),
        Fault.body(b"{}"),
        Fault.body(b'{"access_token": 7}'),
        Fault.body(b'{"access_token": "two\\nlines"}'),
        Fault.body(b"\xff\xfe"),
        Fault.body(b"[" * 100_000),
    ],
)
async def test_an_answer_without_a_token_is_named(upstream, service, exchange, fault):
    upstream.script(fault)

    error = await refused(exchange(service()))

    assert error.message == "The token service answered in a form we cannot read. Check its address."
    assert error.evidence
    assert "two" not in error.evidence


async def test_any_other_refusal_is_a_refused_key(upstream, service, exchange):
    upstream.script(Fault.body(b'{"error": "interaction_required", "error_description": "Not now."}', status=400))

    error = await refused(exchange(service()))

    assert (error.message.startswith("The token service gave no token"), error.status) == (True, 400)
    assert error.evidence == "interaction_required: Not now."


async def test_an_error_with_status_200_is_no_token(upstream, service, exchange):
    upstream.script(Fault.body(b'{"error": "invalid_client"}'))

    assert "client secret" in (await refused(exchange(service()))).message


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Overloaded)])
async def test_a_busy_service_may_be_asked_again(upstream, service, exchange, status, kind):
    upstream.script(Fault.status(status, b"", retry_after="3"))

    error = await refused(exchange(service()), kind)

    assert "token service" in error.message
    assert (error.retryable, error.retry_after) == (True, 3)


async def test_the_token_itself_is_never_shown(upstream, service, exchange):
    auth = service()
    calls = exchange(auth)
    upstream.script(Fault.answer(), Fault.echoes_key(), Fault.answer(), Fault.echoes_key())

    error = await refused(calls)

    shown = f"{error} {error!r} {error.evidence} {auth!r} {calls.provider!r} {auth.sign(Outgoing('GET', ''))!r}"
    assert TOKEN not in shown
    assert upstream.key not in shown


# --- what the service may say of a token's life -----------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "seconds"),
    [({"expires_in": 3600}, 3300), ({"expires_in": "3599"}, 3299), ({"expires_in": 120}, 60), ({}, 3300)]
    + [({"expires_in": odd}, 3300) for odd in (None, "soon", -5, 0, 1e300, [], float("1e12"))],
)
def test_a_life_is_read_with_care(clock, told, seconds):
    auth = AccessToken(TokenRequest("https://login.test/token", {}), clock=clock)
    steps = auth.renewal()
    next(steps)
    with pytest.raises(StopIteration):
        steps.send(Answer(200, {}, json.dumps({"access_token": "abc", **told}).encode()))

    clock.now += seconds - 1
    assert auth.renewal() is None
    clock.now += 1
    assert auth.renewal() is not None


def test_only_a_refused_token_is_forgotten():
    auth = AccessToken(TokenRequest("https://login.test/token", {}))

    assert [auth.refused(Answer(status, {}, b"")) for status in (400, 403, 401)] == [False, False, True]
