"""One call to a provider: proofs, steps, what is supplied around it, and what happens when somebody leaves."""

import asyncio
import json

import pytest

from connections.exchange import Exchange
from connections.providers.calls import Call, InThread, Mode, Outgoing, Pause, Target, Usage
from connections.providers.compatible import OpenAICompatible
from connections.providers.contract import Abilities
from connections.providers.errors import BadReply, KeyRefused, RequestRefused, ServerFailed, TimedOut
from connections.transport import DEFAULT_OPTIONS, DEFAULT_TIMEOUTS, Timeouts, Transport
from tests.streamed import chunks_of
from tests.upstream.faults import Fault

CHAT = {"messages": [{"role": "user", "content": "one two three"}]}


class Narrow(OpenAICompatible):
    """The upstream, as if it did little per request."""

    def abilities(self, target):
        return Abilities(streams=False, choices=1, inputs=2)


class Token:
    """A proof that has to be fetched, and again when it is refused."""

    def __init__(self, url, key):
        self.url, self.key, self.token, self.renewals = url, key, "", 0

    def renewal(self):
        return None if self.token else self._renew()

    def _renew(self):
        self.renewals += 1
        answer = yield Outgoing("GET", f"{self.url}/models", {"Authorization": f"Bearer {self.key}"})
        if answer.status != 200:
            raise KeyRefused("The key was refused.")
        self.token = yield InThread(lambda: self.key)

    def sign(self, outgoing):
        return Outgoing(
            outgoing.method, outgoing.url, {**outgoing.headers, "Authorization": f"Bearer {self.token}"}, outgoing.body
        )

    def refused(self, answer):
        was, self.token = self.token, ""
        return answer.status == 401 and bool(was)


class Signing(OpenAICompatible):
    def signing_in(self):
        return Token(self.settings.base_url, self.settings.api_key.get_secret_value())


class Stepping(OpenAICompatible):
    """Asks, waits and asks again, as systems with predictions do; whoever leaves is to say so."""

    def steps(self, call):
        call.on_leave = Outgoing("DELETE", f"{self.settings.base_url}/tasks/1")
        yield self.request(call)
        assert (yield Pause(0.01)) is None
        answer = yield self.request(call)
        call.on_leave = None
        if answer.status >= 300:
            raise self.problem(answer)
        return self.reply(call, answer)

    def opening(self, call):
        call.on_leave = Outgoing("DELETE", f"{self.settings.base_url}/tasks/1")
        yield Pause(0)
        return self.request(call)


@pytest.fixture
async def exchange(upstream):
    """`exchange(Narrow)`: a way to the upstream as that provider sees it."""
    async with Transport() as transport:

        def make(kind=OpenAICompatible, timeouts=DEFAULT_TIMEOUTS, **settings):
            given = {"base_url": upstream.url("compatible"), "api_key": upstream.key, **settings}
            return Exchange(transport, kind(kind.Settings(**given)), DEFAULT_OPTIONS, timeouts)

        yield make


def call(mode=Mode.CHAT, model=None, stream=False, **body):
    return Call(mode, Target("local", model or mode), {**(CHAT if mode is Mode.CHAT else {}), **body}, stream=stream)


def told(asked):
    return list(map(str, asked.adjusted))


async def streamed(exchange, asked):
    async with exchange.stream(asked) as stream:
        chunks = [json.loads(chunk) for chunk in await chunks_of(stream)]
    return chunks, stream


async def wait_for(condition):
    async with asyncio.timeout(30):
        while not (found := condition()):  # noqa: ASYNC110 - the upstream lives in another thread
            await asyncio.sleep(0.01)
    return found


# --- several requests for one call


async def test_choices_are_asked_for_one_by_one(exchange, upstream):
    asked = call(n=3, temperature=0.5)

    reply = await exchange(Narrow).ask(asked)

    answer = json.loads(reply.body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (9, 9)
    assert answer["usage"]["total_tokens"] == 18
    assert [request.json.get("n") for request in upstream.requests] == [None] * 3
    assert told(asked) == ["n split into 3 requests"]


async def test_embeddings_come_in_the_order_of_their_texts(exchange, upstream):
    texts = [f"text {number}" for number in range(9)]
    asked = call(Mode.EMBEDDING, input=texts)
    upstream.script(Fault.answer(delay=0.2))  # the first batch comes last

    reply = await exchange(Narrow).ask(asked)
    alone = await exchange().ask(call(Mode.EMBEDDING, input=texts))

    assert json.loads(reply.body)["data"] == json.loads(alone.body)["data"]
    assert [item["index"] for item in json.loads(reply.body)["data"]] == list(range(9))
    assert reply.usage.prompt_tokens == alone.usage.prompt_tokens == 18
    assert told(asked) == ["input split into 5 requests"]


async def test_pictures_are_asked_for_one_by_one(exchange, upstream):
    asked = call(Mode.IMAGE, prompt="A fish", n=2)

    reply = await exchange(Narrow).ask(asked)

    assert len(json.loads(reply.body)["data"]) == reply.usage.images == 2
    assert told(asked) == ["n split into 2 requests"]


async def test_choices_that_came_are_kept_when_others_fail(exchange, upstream):
    upstream.script(Fault.answer(), Fault.status(500))
    asked = call(n=3)

    reply = await exchange(Narrow).ask(asked)

    assert len(json.loads(reply.body)["choices"]) == 2
    assert reply.usage.completion_tokens == 6
    assert told(asked)[-1].startswith("n reduced to 2: ")


async def test_embeddings_are_all_there_or_fail_and_what_was_billed_is_told(exchange, upstream):
    upstream.script(*[Fault.answer()] * 4, Fault.status(500))
    texts = [f"text {number}" for number in range(40)]

    with pytest.raises(ServerFailed) as caught:
        await exchange(Narrow).ask(call(Mode.EMBEDDING, input=texts))

    assert caught.value.usage.prompt_tokens == sum(bill.prompt for bill in upstream.billed.values()) >= 16
    assert len(upstream.requests) < 20


async def test_a_refused_key_is_not_tried_for_every_choice(exchange, upstream):
    upstream.always(Fault.status(401))

    with pytest.raises(KeyRefused):
        await exchange(Narrow).ask(call(n=50))

    assert len(upstream.requests) <= 8


async def test_leaving_ends_every_part(exchange, upstream):
    upstream.always(Fault.silence())
    asking = asyncio.ensure_future(exchange(Narrow).ask(call(n=3)))
    await wait_for(lambda: len(upstream.requests) == 3)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    for request in upstream.requests:
        assert await asyncio.to_thread(request.disconnected.wait, 5)


# --- streams


async def test_a_whole_answer_is_given_as_a_stream(exchange, upstream):
    asked = call(stream=True, n=2)

    chunks, stream = await streamed(exchange(Narrow), asked)

    said = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [(one["index"], one["finish_reason"]) for one in said] == [(0, None), (0, "stop"), (1, None), (1, "stop")]
    assert said[0]["delta"]["content"] == "one two three"
    assert chunks[-1]["usage"]["completion_tokens"] == stream.usage.completion_tokens == 6
    assert (stream.finish_reason, stream.model, stream.whole) == ("stop", "local", True)
    assert not any("stream" in request.json for request in upstream.requests)
    assert told(asked) == ["stream answered whole", "n split into 2 requests"]


async def test_a_stream_of_another_mode_is_turned(exchange, upstream):
    asked = call(Mode.COMPLETION, Mode.CHAT, stream=True, prompt="one two")

    chunks, stream = await streamed(exchange(), asked)

    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == "one two"
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert (stream.finish_reason, stream.usage.completion_tokens) == ("stop", 2)


async def test_a_call_that_splits_too_far_fails_before_it_begins(exchange, upstream):
    asked = call(Mode.COMPLETION, Mode.CHAT, stream=True, prompt=["x"] * 100, n=3)

    with pytest.raises(RequestRefused, match="300 requests"):
        await streamed(exchange(Narrow), asked)

    assert upstream.requests == []


async def test_a_failing_whole_answer_fails_its_stream_and_tells_the_usage(exchange, upstream):
    upstream.script(Fault.answer(), Fault.status(500))

    with pytest.raises(ServerFailed) as caught:
        await streamed(exchange(Narrow), call(Mode.COMPLETION, Mode.CHAT, stream=True, prompt=["a b", "c d"]))

    assert (caught.value.usage.prompt_tokens, caught.value.usage.completion_tokens) == (2, 2)


# --- proofs


async def test_a_proof_is_fetched_once_for_calls_at_the_same_time(exchange, upstream):
    way = exchange(Signing)

    await asyncio.gather(*(way.ask(call()) for _ in range(5)))

    assert way.provider.auth.renewals == 1
    assert len(upstream.requests) == 6


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_proof_is_renewed_once(exchange, upstream, stream):
    way = exchange(Signing)
    way.provider.auth.token = "an-old-one"

    if stream:
        chunks, _ = await streamed(way, call(stream=True))
        assert chunks
    else:
        assert (await way.ask(call())).usage.completion_tokens == 3

    assert way.provider.auth.renewals == 1
    assert [request.method for request in upstream.requests] == ["POST", "GET", "POST"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_stays_refused_is_an_error_after_one_renewal(exchange, upstream, stream):
    way = exchange(Signing)
    way.provider.auth.token = "an-old-one"
    upstream.script(Fault.status(401), Fault.answer(), Fault.status(401))

    with pytest.raises(KeyRefused):
        await (streamed(way, call(stream=True)) if stream else way.ask(call()))

    assert len(upstream.requests) == 3


# --- steps


async def test_steps_are_taken_one_after_the_other(exchange, upstream):
    reply = await exchange(Stepping).ask(call())

    assert reply.usage.completion_tokens == 3
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_provider_is_told_when_the_caller_leaves(exchange, upstream, stream):
    upstream.script(Fault.silence())
    way = exchange(Stepping)
    asking = asyncio.ensure_future(streamed(way, call(stream=True)) if stream else way.ask(call()))
    await wait_for(lambda: upstream.requests)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    farewell = await wait_for(lambda: next((one for one in upstream.requests if one.method == "DELETE"), None))
    assert farewell.path.endswith("/tasks/1")
    assert farewell.headers["authorization"] == f"Bearer {upstream.key}"


async def test_the_provider_is_told_when_we_give_up(exchange, upstream):
    upstream.script(Fault.silence())

    with pytest.raises(TimedOut):
        await exchange(Stepping, timeouts=Timeouts(total=0.2)).ask(call())

    assert await wait_for(lambda: [one for one in upstream.requests if one.method == "DELETE"])


async def test_a_finished_stream_says_no_farewell(exchange, upstream):
    await streamed(exchange(Stepping), call(stream=True))
    await exchange().ask(call())  # a farewell would have been sent before this

    assert [request.method for request in upstream.requests] == ["POST", "POST"]


# --- what a stream may be


class WholeOpening(OpenAICompatible):
    """Has no stream to open for what it answers."""

    def opening(self, call):
        answer = yield self.request(Call(call.mode, call.target, call.body))
        return self.reply(call, answer)


async def test_an_opening_may_bring_the_whole_answer(exchange, upstream):
    chunks, stream = await streamed(exchange(WholeOpening), call(stream=True))

    assert chunks[0]["choices"][0]["delta"]["content"] == "one two three"
    assert stream.usage == Usage(3, 3)


async def test_json_in_place_of_a_stream_is_a_bad_reply(exchange, upstream):
    upstream.script(Fault.whole())

    with pytest.raises(BadReply, match="without a stream"):
        await streamed(exchange(), call(stream=True))
