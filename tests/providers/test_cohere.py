"""What is particular to Cohere's dialect."""

import json

import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.errors import RequestRefused
from connections.providers.parameters import KNOWN
from tests.providers.conftest import make
from tests.providers.test_contract import TOOLS, sample
from tests.upstream.cohere import Chat, Embed, FirstChat, Generate, Rerank

HELLO = [{"role": "user", "content": "Hello"}]
NEW, THINKING, OLD = "command-a-03-2025", "command-a-reasoning-08-2025", "command-light"


def asked(name=NEW, mode=Mode.CHAT, options=None, **body):
    target = Target(name, mode, options=options or {})
    call = Call(mode, target, {"messages": HELLO, **body} if mode is Mode.CHAT else body)
    outgoing = make("cohere").request(call)
    return (
        outgoing.url.removeprefix("https://api.cohere.com/"),
        json.loads(outgoing.body),
        list(map(str, call.adjusted)),
    )


def sent(**given):
    return asked(**given)[1]


@pytest.mark.parametrize(
    ("shape", "name", "mode", "content"),
    [
        (Chat, THINKING, Mode.CHAT, {}),
        (FirstChat, OLD, Mode.CHAT, {}),
        (Generate, OLD, Mode.COMPLETION, {"prompt": "Hello"}),
        (Embed, "embed-v4.0", Mode.EMBEDDING, {"input": "Hello", "dimensions": 256, "input_type": "document"}),
        (Rerank, "rerank-v3.5", Mode.RERANK, {"query": "a", "documents": ["b"]}),
    ],
)
def test_a_strict_server_takes_the_request_with_every_parameter(shape, name, mode, content):
    given = {one: sample(mode, one) for one in KNOWN[mode]}

    shape.model_validate(sent(name=name, mode=mode, **{**given, **content}))


# --- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "route"),
    [
        (NEW, {}, "v2/chat"),
        (OLD, {}, "v1/chat"),
        ("command", {}, "v1/chat"),
        ("command-r-03-2024", {}, "v2/chat"),
        (NEW, {"chat_version": "v1"}, "v1/chat"),
        (OLD, {"chat_version": "v2"}, "v2/chat"),
        (OLD, {"chat_version": "v9"}, "v1/chat"),
    ],
)
def test_the_version_of_the_chat_route(name, options, route):
    assert asked(name, options=options)[0] == route


@pytest.mark.parametrize(
    ("choice", "expected"), [("required", "REQUIRED"), ("none", "NONE"), ("auto", None), (None, None)]
)
def test_the_choice_of_tools(choice, expected):
    assert sent(tools=TOOLS, tool_choice=choice).get("tool_choice") == expected


def test_a_choice_without_tools_is_dropped():
    _, body, adjusted = asked(tool_choice="required")

    assert ("tool_choice" in body, adjusted) == (False, ["tool_choice dropped"])


def test_a_choice_of_an_unknown_tool_is_refused():
    with pytest.raises(RequestRefused, match="not among the tools"):
        asked(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "paint"}})


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("none", {"type": "disabled"}),
        ("medium", {"type": "enabled", "token_budget": 4096}),
        ("xhigh", {"type": "enabled", "token_budget": 31_000}),
    ],
)
def test_reasoning(effort, expected):
    assert sent(name=THINKING, reasoning_effort=effort)["thinking"] == expected


@pytest.mark.parametrize(
    ("name", "option", "thinks"), [(NEW, "yes", True), (NEW, "auto", False), (THINKING, "no", False)]
)
def test_who_reasons_may_be_told(name, option, thinks):
    _, body, adjusted = asked(name, options={"thinking": option}, reasoning_effort="low")

    assert "thinking" in body if thinks else adjusted == ["reasoning_effort dropped"]


def test_its_own_thinking_passes():
    thinking = {"type": "enabled", "token_budget": 7}

    _, body, adjusted = asked(THINKING, thinking=thinking, reasoning_effort="low")

    assert (body["thinking"], adjusted) == (thinking, ["reasoning_effort dropped, as thinking is given"])


@pytest.mark.parametrize(
    ("wished", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "a"}},
            {"type": "json_object", "json_schema": {"type": "object"}},
        ),
    ],
)
def test_formats(wished, expected):
    assert sent(response_format=wished).get("response_format") == expected


def test_a_penalty_of_nothing_does_not_count():
    assert asked(frequency_penalty=0, presence_penalty=0.5)[1]["presence_penalty"] == 0.5


def test_content_that_it_does_not_take_is_refused():
    with pytest.raises(RequestRefused, match="input_audio"):
        asked(messages=[{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])


@pytest.mark.parametrize("url", ["https://gw.test/cohere", "https://gw.test/cohere/v1", "https://gw.test/cohere/v2/"])
def test_a_pasted_version_is_left_out(url):
    assert make("cohere", base_url=url).check().url == "https://gw.test/cohere/v1/models?page_size=1000"


def test_texts_go_in_batches_and_choices_in_one_request():
    provider = make("cohere")

    assert provider.abilities(Target("embed-v4.0", Mode.EMBEDDING)).inputs == 96
    assert provider.abilities(Target(OLD, Mode.COMPLETION)).choices == 5
    assert provider.abilities(Target(NEW)).choices == 1


# --- answers ---------------------------------------------------------------------------------------------


def read(*events, name=NEW, mode=Mode.CHAT):
    call = Call(mode, Target(name, mode), {}, stream=True)
    reader = make("cohere").events(call)
    chunks = [chunk for event in events for chunk in reader.feed(Frame("", json.dumps(event).encode()))]
    return [json.loads(chunk) for chunk in [*chunks, *reader.end()]], reader


def test_several_answers_in_one_stream():
    ends = [{"index": 0, "finish_reason": "COMPLETE"}, {"index": 1, "finish_reason": "MAX_TOKENS"}]
    chunks, _ = read(
        {"event_type": "text-generation", "text": "a", "index": 0, "is_finished": False},
        {"event_type": "text-generation", "text": "b", "index": 1, "is_finished": False},
        {
            "event_type": "stream-end",
            "is_finished": True,
            "finish_reason": "COMPLETE",
            "response": {"generations": ends},
        },
        name=OLD,
        mode=Mode.COMPLETION,
    )

    told = [(one["index"], one["text"], one["finish_reason"]) for chunk in chunks for one in chunk["choices"]]
    assert told == [(0, "a", None), (1, "b", None), (0, "", "stop"), (1, "", "length")]


def test_citations_are_passed_on():
    citation = {"start": 0, "end": 2, "text": "Hi"}
    body = {
        "message": {"content": [{"type": "text", "text": "Hi"}], "citations": [citation]},
        "finish_reason": "COMPLETE",
    }
    provider, call = make("cohere"), Call(Mode.CHAT, Target(NEW), {})

    whole = json.loads(provider.reply(call, Answer(200, {}, json.dumps(body).encode())).body)
    chunks, _ = read(
        {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
        {"type": "citation-start", "delta": {"message": {"citations": citation}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    )

    assert whole["choices"][0]["citations"] == [citation]
    assert chunks[1]["choices"][0]["delta"]["citations"] == [citation]


def test_arguments_without_a_tool_are_passed_over():
    odd = {
        "type": "tool-call-delta",
        "index": 7,
        "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}},
    }
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}

    chunks, _ = read(odd, {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}}, end)

    assert len(chunks) == 2


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, (None, None, None, False)),
        ({"tokens": {"input_tokens": 5.0, "output_tokens": 7}}, (5, 7, None, False)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 7}}, (5, 7, 5, False)),
        ({"tokens": {"input_tokens": "5", "output_tokens": -7}}, (5, 0, None, True)),
        ({"tokens": {"input_tokens": 0.5}}, (0, None, None, True)),
        ({"tokens": [], "billed_units": "many"}, (None, None, None, False)),
    ],
)
def test_reported_tokens_are_made_safe(usage, expected):
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}

    found = read({"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}}, end)[1].usage

    assert (found.prompt_tokens, found.completion_tokens, found.billed_prompt_tokens, found.suspect) == expected


def test_the_list_ends_after_a_bounded_number_of_pages():
    provider = make("cohere")
    page = Answer(200, {}, b'{"models": [{"name": "a", "endpoints": ["chat"]}], "next_page_token": "more"}')
    steps, pages = provider.listing(page), 0
    next(steps)
    with pytest.raises(StopIteration) as done:
        while True:
            pages += 1
            steps.send(page)

    assert (pages, len(done.value.value)) == (20, 21)


def test_a_page_that_is_refused_is_an_error():
    steps = make("cohere").listing(Answer(200, {}, b'{"models": [], "next_page_token": "more"}'))
    next(steps)

    with pytest.raises(errors.KeyRefused):
        steps.send(Answer(498, {}, b"{}"))
