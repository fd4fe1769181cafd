"""Every family of models: its bodies and answers, as its golden files tell. A new family is tested without a new line.

A folder in `golden_families/` is named after a family: `request*.json`, `chat_request*.json` (a conversation for a
family that continues a text), `reply*.json`, `stream*.json` (decoded chunks) and `errors.json`.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.providers import emulation, errors
from connections.providers.calls import Call, Frame, Mode, Target, Usage
from connections.providers.errors import ProviderError
from connections.providers.model_families import BEGINNINGS, FAMILIES, family_of
from connections.providers.model_families.claude_messages import VERTEX_VERSION, ClaudeMessages
from connections.providers.model_families.family import Scissors, cut
from connections.providers.parameters import KNOWN
from tests.providers.conftest import CONTENT, target_from
from tests.providers.test_contract import (
    CONTENT_IN,
    JSON,
    NEEDS_TOOLS,
    NOISE,
    TOOLS,
    assembled,
    hostile,
    sample,
)

GOLDEN = Path(__file__).parent / "golden_families"
FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
STREAMING = [family for family in FAMILIES.values() if family.abilities(Target("a-model")).streams]


def goldens(pattern: str) -> Any:
    found = [(name, path) for name in FAMILIES for path in sorted((GOLDEN / name).glob(pattern))]
    cases = [
        pytest.param(FAMILIES[name], json.loads(path.read_text()), id=f"{name}-{path.stem}") for name, path in found
    ]
    return pytest.mark.parametrize(("family", "recorded"), cases)


def a_call(family: Any, recorded: Any = None, **body: Any) -> Call:
    """A small call to a model of the family; `body` and what is recorded add to it."""
    path = GOLDEN / family.name / "request.json"
    target = target_from((recorded or {}).get("target") or json.loads(path.read_text())["target"], family.mode)
    asked = (recorded or {}).get("call", {})
    return Call(family.mode, target, {**CONTENT[family.mode], **asked, **body})


# --- requests --------------------------------------------------------------------------------------------


@FAMILY
def test_a_family_has_golden_files(family):
    names = {path.name for path in (GOLDEN / family.name).iterdir()}

    assert {"request.json", "reply.json", "errors.json"} <= names
    assert ("stream.json" in names) == family.abilities(a_call(family).target).streams
    assert ("chat_request.json" in names) == (family.mode is Mode.COMPLETION)


@goldens("request*.json")
def test_the_golden_body_is_made(family, recorded):
    call = Call(family.mode, target_from(recorded["target"], family.mode), recorded["call"])
    call.stream = recorded.get("stream", False)
    before = json.dumps(recorded["call"])

    assert family.body(call) == recorded["body"]
    assert list(map(str, call.adjusted)) == recorded["adjusted"]
    assert json.dumps(recorded["call"]) == before


@goldens("chat_request*.json")
def test_a_conversation_is_written_down(family, recorded):
    call = Call(Mode.CHAT, target_from(recorded["target"], family.mode), recorded["call"])

    assert family.body(emulation.in_own_mode(family, call)) == recorded["body"]
    adjusted = list(map(str, call.adjusted))
    assert "messages sent as one prompt" in adjusted
    assert adjusted == recorded.get("adjusted", adjusted)


@FAMILY
def test_no_parameter_is_lost_in_silence(family):
    for name in KNOWN[family.mode]:
        around = {"tools": TOOLS} if name in NEEDS_TOOLS else {}
        plain, call = a_call(family, **around), a_call(family, **around, **{name: sample(family.mode, name)})

        changed = family.body(call) != family.body(plain)
        assert changed or any(one.parameter == name for one in call.adjusted), name


@FAMILY
def test_all_parameters_together_make_a_body(family):
    given = {name: sample(family.mode, name) for name in KNOWN[family.mode]}

    body = json.dumps(family.body(a_call(family, **given)))

    assert '"model"' not in body


# --- answers ---------------------------------------------------------------------------------------------


@goldens("reply*.json")
def test_the_golden_reply_is_read(family, recorded):
    told, expected = Usage(**recorded.get("told", {})), recorded["reply"]

    reply = family.reply(a_call(family, recorded), json.dumps(recorded["answer"]).encode(), [], told)

    body = json.loads(reply.body)
    assert CONTENT_IN[family.mode](body) == {name: expected[name] for name in CONTENT_IN[family.mode](body)}
    assert {name: getattr(reply.usage, name) for name in expected["usage"]} == expected["usage"]
    assert reply.model == expected.get("model", "")
    assert not reply.usage.suspect
    if family.mode in {Mode.CHAT, Mode.COMPLETION}:
        finishes = [choice["finish_reason"] for choice in body["choices"]]
        assert finishes == expected.get("finish_reasons", [expected["finish_reason"]])
        assert ("usage" in body) == (reply.usage.prompt_tokens is not None)
    if "texts" in expected:
        assert [choice["text"] for choice in body["choices"]] == expected["texts"]


def read(family: Any, recorded: Any, chunks: list[Any], **changed: Any) -> tuple[list[Any], Any]:
    call = a_call(family, recorded)
    call.stream, call.wants_usage = True, changed.get("wants_usage", True)
    events = family.events(call, [])
    made = [made for chunk in chunks for made in events.feed(Frame("", json.dumps(chunk).encode()))]
    return [json.loads(chunk) for chunk in [*made, *events.end()]], events


@goldens("stream*.json")
def test_the_golden_stream_is_read(family, recorded):
    chunks, events = read(family, recorded, recorded["chunks"])

    assert assembled(chunks) == {"text": recorded["text"], "tool_calls": recorded["tool_calls"]}
    assert (events.finish_reason, events.model) == (recorded["finish_reason"], recorded.get("model", ""))
    assert {name: getattr(events.usage, name) for name in recorded["usage"]} == recorded["usage"]
    assert not events.usage.suspect
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [finish for finish in finishes if finish] == [recorded["finish_reason"]]
    assert chunks[-1]["usage"]["completion_tokens"] == recorded["usage"]["completion_tokens"]
    assert all(chunk["choices"] for chunk in read(family, recorded, recorded["chunks"], wants_usage=False)[0])


@goldens("stream*.json")
def test_a_stream_cut_before_its_end_is_an_error(family, recorded):
    """Cut after any chunk before the one that ends the text: the last, or the one that `complete_from` numbers."""
    for cut_at in range(recorded.get("complete_from", len(recorded["chunks"]) - 1)):
        with pytest.raises(errors.BadReply):
            read(family, recorded, recorded["chunks"][:cut_at])


def replaced(value: Any, changes: dict[Any, Any]) -> Any:
    """The same JSON with these texts in place of others."""
    if isinstance(value, dict):
        return {name: replaced(inner, changes) for name, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, changes) for inner in value]
    return changes.get(value, value) if isinstance(value, str) else value


@goldens("stream*.json")
def test_a_chunk_may_be_split_anywhere(family, recorded):
    """However a host cuts the text into chunks, the answer is the same."""
    if family.mode is not Mode.COMPLETION:
        return
    chunks = recorded["chunks"]
    for place, chunk in enumerate(chunks):
        for told in family.pieces(chunk):
            for at in range(1, len(told.text)):
                halves = [
                    replaced(chunk, {told.text: told.text[:at], told.reason: None}),
                    replaced(chunk, {told.text: told.text[at:]}),
                ]
                said, events = read(family, recorded, [*chunks[:place], *halves, *chunks[place + 1 :]])

                assert assembled(said)["text"] == recorded["text"]
                assert events.finish_reason == recorded["finish_reason"]


# --- errors ----------------------------------------------------------------------------------------------


@FAMILY
def test_errors_inside_good_answers_are_named(family):
    for told in json.loads((GOLDEN / family.name / "errors.json").read_text())["inside"]:
        with pytest.raises(getattr(errors, told["error"])) as caught:
            family.reply(a_call(family), json.dumps(told["body"]).encode(), [])

        assert type(caught.value).__name__ == told["error"]
        assert caught.value.evidence == told.get("evidence", caught.value.evidence)


@FAMILY
def test_errors_inside_streams_are_named(family):
    for told in json.loads((GOLDEN / family.name / "errors.json").read_text()).get("frames", []):
        with pytest.raises(getattr(errors, told["error"])) as caught:
            list(family.events(a_call(family), []).feed(Frame("", json.dumps(told["data"]).encode())))

        assert type(caught.value).__name__ == told["error"]
        assert caught.value.evidence == told.get("evidence", caught.value.evidence)


@FAMILY
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"choices": 7, "results": [7]}', b"[" * 100_000]
)
def test_an_answer_we_cannot_read_is_a_bad_reply(family, body):
    with pytest.raises(errors.BadReply):
        family.reply(a_call(family), body, [])


@FAMILY
def test_an_echoed_secret_is_scrubbed(family):
    for body in ({"error": "Bad key secret-canary-1234."}, {"message": "Bad key secret-canary-1234."}):
        with pytest.raises(ProviderError) as caught:
            family.reply(a_call(family), json.dumps(body).encode(), ["secret-canary-1234"])

        assert "canary" not in caught.value.evidence


WORDS = [
    "answers artifacts base64 choices code completion completions content data delta embedding embeddings",
    "embeddingsByType error event_type finishReason finish_reason finish_reasons float function generation",
    "generations images index is_finished message meta outputText outputs prompt response results stop_reason",
    "stream-end text text-generation tokenCount tokens tool_calls tool-calls-generation type usage",
    "amazon-bedrock-invocationMetrics inputTokenCount billed_units input_tokens stream-start generation_id",
]
NAMES = st.sampled_from(" ".join(WORDS).split())
OWN = st.recursive(
    JSON | NAMES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=14
)
GARBAGE = NOISE | OWN.map(lambda value: json.dumps(value).encode())


@FAMILY
@hostile
@given(body=GARBAGE)
def test_garbage_raises_nothing_but_provider_errors(family, body):
    with suppress(ProviderError):
        assert family.reply(a_call(family), body, []).body


@pytest.mark.parametrize("family", STREAMING, ids=lambda family: family.name)
@hostile
@given(frames=st.lists(GARBAGE, max_size=4))
def test_a_stream_of_garbage_raises_nothing_but_provider_errors(family, frames):
    events = family.events(a_call(family), [])
    with suppress(ProviderError):
        for data in frames:
            assert all(isinstance(chunk, bytes) for chunk in events.feed(Frame("", data)))
        list(events.end())


# --- what is particular ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("anthropic.claude-v2:1", "claude-text"),
        ("anthropic.claude-instant-v1", "claude-text"),
        ("claude-2.0", "claude-text"),
        ("eu.anthropic.claude-3-5-sonnet-20240620-v1:0", "claude-messages"),
        ("us-gov.anthropic.claude-sonnet-4-20250514-v1:0", "claude-messages"),
        ("claude-3-5-sonnet@20240620", "claude-messages"),
        ("arn:aws:bedrock:us-east-1::foundation-model/ai21.j2-mid-v1", "jurassic-2"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama3-70b-instruct-v1:0", "llama3"),
        ("meta.llama2-13b-chat-v1", "llama2"),
        ("meta.llama4-scout-17b-instruct-v1:0", ""),
        ("cohere.command-light-text-v14", "cohere-command"),
        ("cohere.command-r-plus-v1:0", "cohere-command-r"),
        ("cohere.embed-v4:0", "cohere-embed"),
        ("amazon.titan-text-premier-v1:0", "titan-text"),
        ("amazon.titan-tg1-large", "titan-text"),
        ("amazon.titan-embed-text-v2:0", "titan-embed"),
        ("amazon.titan-embed-image-v1", "titan-embed-image"),
        ("amazon.titan-image-generator-v2:0", "titan-image"),
        ("mistral.mistral-7b-instruct-v0:2", "mistral"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "mistral"),
        ("mistral.mistral-large-2407-v1:0", "mistral-chat"),
        ("stability.stable-diffusion-xl-v1", "sdxl"),
        ("stability.sd3-5-large-v1:0", "stable-image"),
        ("stability.stable-image-ultra-v1:1", "stable-image"),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123", ""),
        ("gpt-4o", ""),
    ],
)
def test_the_family_of_a_model(model, family):
    assert family_of(model) == family


def test_every_family_can_be_found_by_a_name():
    assert set(BEGINNINGS.values()) == set(FAMILIES)


def test_claude_on_another_cloud_has_another_version():
    family = ClaudeMessages(VERTEX_VERSION)

    assert family.body(a_call(FAMILIES["claude-messages"]))["anthropic_version"] == "vertex-2023-10-16"


def test_the_newest_version_takes_no_sampling():
    call = a_call(FAMILIES["claude-messages"], temperature=0.5)

    assert "temperature" not in ClaudeMessages("2026-10-21").body(call)
    assert [*map(str, call.adjusted)][:1] == ["temperature dropped"]


def test_counts_of_the_host_stand_in_for_a_message_without_any():
    body = {"id": "m", "model": "claude-3", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    family = FAMILIES["claude-messages"]

    reply = family.reply(a_call(family), json.dumps(body).encode(), [], Usage(5, 6))

    assert (reply.usage.prompt_tokens, json.loads(reply.body)["usage"]["completion_tokens"]) == (5, 6)


@given(st.text("ab<>|", max_size=30), st.lists(st.text("ab<>|", min_size=1, max_size=4), max_size=3), st.data())
def test_a_stream_is_cut_like_the_whole_text(text, stops, data):
    scissors, said, rest = Scissors(stops), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        said += scissors.feed(rest[:size])
        rest = rest[size:]
        assert cut(text, stops)[0].startswith(said)

    assert (said + scissors.rest(), scissors.stopped) == cut(text, stops)


def test_the_stop_that_is_complete_first_counts():
    assert cut("one two three", ["two three", "wo"]) == ("one t", True)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "last message"),
        ([{"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "x", "content": "1"}], "tool_call_id"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}], "no images"),
    ],
)
def test_conversations_that_command_r_cannot_be_told(messages, words):
    with pytest.raises(errors.RequestRefused, match=words):
        FAMILIES["cohere-command-r"].body(a_call(FAMILIES["cohere-command-r"], messages=messages))


@pytest.mark.parametrize("name", ["cohere-embed", "titan-embed"])
def test_numbers_of_tokens_are_not_embedded(name):
    with pytest.raises(errors.RequestRefused, match="not numbers"):
        FAMILIES[name].body(a_call(FAMILIES[name], input=[[1, 2]]))


def test_more_texts_than_one_are_several_requests():
    family = FAMILIES["titan-embed"]
    parts = emulation.requests(family, a_call(family, input=["A", "B", "C"]))

    assert [family.body(part)["inputText"] for part in parts] == ["A", "B", "C"]


def test_more_prompts_than_one_are_several_requests():
    family = FAMILIES["llama3"]
    parts = emulation.requests(family, a_call(family, prompt=["A", "B"], n=2))

    assert [family.body(part)["prompt"] for part in parts] == ["A", "A", "B", "B"]
