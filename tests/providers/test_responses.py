"""OpenAI's Responses API, judged by the official client's types: what we send, what we read, what callers get."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import ImageModel
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.shared.responses_model import ResponsesModel
from pydantic import TypeAdapter

from connections.providers import errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.errors import ProviderError
from connections.providers.openai_models import CATALOGUE
from tests.providers.conftest import GOLDEN, make
from tests.providers.test_contract import JSON, hostile
from tests.upstream.responses import accept

pytestmark = pytest.mark.proves(kind="openai", mode="chat", by="official SDK")
HELLO = [{"role": "user", "content": "Hello"}]
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def sent(name="o3-pro", *, stream=False, options=None, messages=HELLO, **body):
    call = Call(Mode.CHAT, Target(name, options=options or {}), {"messages": messages, **body}, stream=stream)
    outgoing = make("openai").request(call)
    return outgoing.url, json.loads(outgoing.body), list(map(str, call.adjusted))


def golden_call() -> Call:
    told = json.loads((GOLDEN / "openai" / "chat_request.responses.json").read_text())
    return Call(Mode.CHAT, Target("o3-pro"), told["call"])


# --- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_knows_our_request(stream):
    call = golden_call()
    call.stream = stream

    accept(json.loads(make("openai").request(call).body))


def test_the_judge_refuses_what_is_wrong():
    _, body, _ = sent()

    for wrong in ({"input": [{"role": "nobody", "content": "x"}]}, {"tools": [{"type": "function"}]}, {"tool": []}):
        with pytest.raises((ValueError, AssertionError)):
            accept(body | wrong)


def test_every_part_of_a_conversation_has_its_place():
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "name": "ada", "content": "One"},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        {"role": "assistant", "content": None, "refusal": "No.", "reasoning_content": "Hm."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test/1", "detail": "low"}}]},
    ]

    _, body, adjusted = sent(messages=messages)

    accept(body)
    assert [item["role"] for item in body["input"]] == ["developer", "user", "assistant", "assistant", "user"]
    assert [item["content"] for item in body["input"][2:4]] == ["ab", "No."]
    assert adjusted == ["messages.name dropped", "messages.reasoning_content dropped"]


def test_functions_stay_lenient_and_may_be_bare():
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]

    _, body, _ = sent(tools=tools, tool_choice="auto")

    accept(body)
    assert body["tools"] == [{"type": "function", "name": "f", "parameters": None, "strict": False}, tools[1]]


def test_a_choice_of_allowed_tools_lies_flat():
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}

    _, body, _ = sent(tool_choice={"type": "allowed_tools", "allowed_tools": allowed})

    accept(body)
    assert body["tool_choice"]["tools"] == [{"type": "function", "name": "f"}]


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_simple_formats_pass(kind):
    _, body, _ = sent(response_format={"type": kind})

    accept(body)
    assert body["text"] == {"format": {"type": kind}}


def test_nothing_is_kept_unless_the_caller_wishes_it():
    assert sent()[1]["store"] is False
    assert sent(store=True)[1]["store"] is True


def test_a_model_that_does_not_reason_samples():
    _, body, adjusted = sent("gpt-5.5-pro", reasoning_effort="none", temperature=0.2, n=3)

    assert (body["temperature"], adjusted) == (0.2, ["n dropped"])


def test_the_web_is_searched_where_an_admin_lets_the_model():
    _, body, _ = sent("o4-mini-deep-research", options={"web_search": True})

    accept(body)
    assert body["tools"] == [{"type": "web_search_preview"}]


# --- which models ------------------------------------------------------------------------------------------

ONLY_THERE = get_args(get_args(ResponsesModel)[2])
ELSEWHERE = [
    model.id
    for model in CATALOGUE
    if model.mode is Mode.CHAT and model.id not in ONLY_THERE and not model.id.endswith("-pro")
]


@pytest.mark.parametrize("name", ONLY_THERE)
def test_models_that_exist_only_there_are_asked_there(name):
    assert sent(name)[0] == "https://api.openai.com/v1/responses"


@pytest.mark.parametrize("name", [*ELSEWHERE, "my-prompter", "gpt-4o-proxy"])
def test_other_models_are_not(name):
    assert sent(name)[0] == "https://api.openai.com/v1/chat/completions"


@pytest.mark.parametrize(("api", "path"), [("responses", "responses"), ("chat", "chat/completions")])
@pytest.mark.parametrize("name", ["gpt-4o", "o3-pro"])
def test_an_admin_may_decide(name, api, path):
    assert sent(name, options={"api": api})[0] == f"https://api.openai.com/v1/{path}"


@pytest.mark.parametrize(("name", "streams"), [("o3-pro", False), ("o1-pro-2025-03-19", False), ("gpt-5-codex", True)])
def test_those_that_answer_whole_are_known(name, streams):
    provider = make("openai")

    assert provider.abilities(Target(name)).streams is streams
    assert provider.abilities(Target(name)).choices == 1


@pytest.mark.parametrize("name", get_args(ImageModel))
def test_every_model_for_pictures_is_listed_as_one(name):
    [model] = make("openai").models(Answer(200, {}, json.dumps({"data": [{"id": name}]}).encode()))

    assert model.mode is Mode.IMAGE


@pytest.mark.parametrize(("wish", "streams"), [("yes", True), ("no", False), ("auto", False)])
def test_an_admin_knows_better_which_stream(wish, streams):
    assert make("openai").abilities(Target("o3-pro", options={"streams": wish})).streams is streams


# --- answers -----------------------------------------------------------------------------------------------


def recorded(name: str) -> Any:
    return json.loads((GOLDEN / "openai" / f"chat_reply.{name}.json").read_text())["answer"]


def read(answer: Any):
    return make("openai").reply(
        Call(Mode.CHAT, Target("o3-pro"), {"messages": HELLO}), Answer(200, {}, encoded(answer))
    )


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", ["responses", "responses_cut", "responses_refusal"])
def test_what_we_read_is_a_response_and_what_callers_get_a_completion(name):
    Response.model_validate(recorded(name), strict=True)

    ChatCompletion.model_validate(json.loads(read(recorded(name)).body), strict=True)


def test_reasoning_refusals_and_citations_are_told():
    told = json.loads(read(recorded("responses")).body)["choices"][0]["message"]
    refused = json.loads(read(recorded("responses_refusal")).body)["choices"][0]["message"]

    assert told["reasoning_content"] == "Hm."
    assert told["annotations"][0]["url_citation"]["url"] == "https://fish.test"
    assert refused["refusal"] == "No."


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", errors.RateLimited),
        ("server_error", errors.ServerFailed),
        ("invalid_prompt", errors.RequestRefused),
        ("invalid_image_url", errors.RequestRefused),
        ("bio_policy", errors.ContentFiltered),
        ("unheard_of", errors.ServerFailed),
    ],
)
def test_a_failed_response_is_an_error(code, kind):
    failed = recorded("responses") | {"status": "failed", "error": {"code": code, "message": "Words."}}
    frames = [{"type": "response.failed", "response": failed}, {"type": "error", "code": code, "message": "Words."}]

    with pytest.raises(kind) as caught:
        read(failed)
    assert caught.value.evidence == "Words."
    for frame in frames:
        with pytest.raises(kind):
            streamed([frame])


@pytest.mark.parametrize("change", [{"status": "queued"}, {"status": None}, {"output": None}, {"output": "text"}])
def test_a_response_that_is_not_over_is_none(change):
    with pytest.raises(errors.BadReply):
        read(recorded("responses") | change)


# --- streams -----------------------------------------------------------------------------------------------


def streamed(events: list[Any], *, wants_usage: bool = True) -> list[Any]:
    call = Call(Mode.CHAT, Target("gpt-5-codex"), {"messages": HELLO}, stream=True, wants_usage=wants_usage)
    reader = make("openai").events(call)
    chunks = [chunk for event in events for chunk in reader.feed(Frame(event.get("type", ""), encoded(event)))]
    return [json.loads(chunk) for chunk in [*chunks, *reader.end()]]


def golden_events() -> Iterator[Any]:
    for line in (GOLDEN / "openai" / "chat_stream.responses.sse").read_text().splitlines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_what_we_read_are_events_and_what_callers_get_are_chunks():
    events = list(golden_events())
    for event in events:
        EVENT.validate_python(event)

    chunks = streamed(events)

    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk["id"] for chunk in chunks} == {"resp_1"}
    assert "".join(chunk["choices"][0]["delta"].get("reasoning_content", "") for chunk in chunks[:-1]) == "Hm."


def test_arguments_that_come_at_once_are_passed_on_once():
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    done = {"type": "response.output_item.done", "output_index": 3, "item": item}
    over = {"type": "response.completed", "response": {"output": [item], "status": "completed"}}

    chunks = streamed([done, done, over], wants_usage=False)

    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == "{}"
    assert [call["index"] for call in calls] == [0, 0]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_refusal_and_a_citation_are_streamed():
    note = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1}
    chunks = streamed(
        [
            {"type": "response.refusal.delta", "delta": "No."},
            {"type": "response.output_text.annotation.added", "annotation": note},
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
        ]
    )

    assert chunks[0]["choices"][0]["delta"]["refusal"] == "No."
    assert chunks[1]["choices"][0]["delta"]["annotations"][0]["url_citation"]["title"] == "A"
    assert chunks[2]["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_without_its_last_event_was_cut():
    with pytest.raises(errors.BadReply, match="cut off"):
        streamed(list(golden_events())[:-1])


KINDS = ("response.created", "response.output_item.added", "response.function_call_arguments.delta")
FIELDS = ("response", "item", "delta", "output_index", "annotation", "error")
EVENTS = st.tuples(st.sampled_from([*KINDS, "response.completed", "response.output_text.delta"]), JSON).map(
    lambda pair: encoded({"type": pair[0], **dict.fromkeys(FIELDS[:-1], pair[1])})
)


@hostile
@given(body=JSON, events=st.lists(EVENTS, max_size=4))
def test_garbage_raises_nothing_but_provider_errors(body, events):
    for status in ("completed", "failed", "incomplete"):
        with suppress(ProviderError):
            read({"status": status, "output": body, "usage": body, "error": None, "model": body, "id": body})
            read({"status": status, "output": [{"type": "message", "content": body}, {"type": "reasoning"}]})
    reader = make("openai").events(Call(Mode.CHAT, Target("gpt-5-codex"), {}, stream=True))
    with suppress(ProviderError):
        for data in events:
            assert all(isinstance(chunk, bytes) for chunk in reader.feed(Frame("", data)))
        list(reader.end())
