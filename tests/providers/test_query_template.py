"""Query templates: a request whose shape no prompt can change, answers read by paths, samples that must hold."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connections.providers import errors, wire
from connections.providers.calls import Answer, Call, Mode, Target
from connections.providers.framing import SSE
from connections.providers.prompt_formats import FORMATS, PromptOptions
from connections.providers.query_template import MAX_SIZE, STORED, QueryTemplate, template_names
from connections.providers.query_template_paths import PathProblem, at, steps, text_at
from connections.providers.query_template_tree import PLACEHOLDERS
from connections.providers.settings import ModelOptions, setting

REQUEST = {
    "inputs": {"$": "prompt"},
    "parameters": {"max_new_tokens": {"$": "max_tokens", "default": 256}, "temperature": {"$": "temperature"}},
}
SHAPE = {"request": REQUEST, "answer": {"text": "[0].generated_text"}}
HELLO = [{"role": "user", "content": "Hello"}]


def template(**changes: Any) -> QueryTemplate:
    return QueryTemplate.model_validate({**SHAPE, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        template(**changes)
    return "\n".join(problem["msg"] for problem in caught.value.errors())


def chat(messages: Any = HELLO, **body: Any) -> Call:
    return Call(Mode.CHAT, Target("my-endpoint"), {"messages": messages, **body}, request_id="req-1")


def sent(of: QueryTemplate, call: Call | None = None) -> Any:
    """The request as it goes over the wire."""
    return json.loads(wire.encode(of.body(call or chat())))


def answered(of: QueryTemplate, answer: Any, call: Call | None = None) -> Any:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return of.reply(call or chat(), Answer(200, {}, body), [])


# --- requests --------------------------------------------------------------------------------------------


def test_placeholders_become_values():
    assert sent(template(), chat(temperature=0.5, max_tokens=9)) == {
        "inputs": "Hello",
        "parameters": {"max_new_tokens": 9, "temperature": 0.5},
    }


def test_what_is_not_given_is_left_out_or_takes_its_default():
    call = chat()

    assert sent(template(), call) == {"inputs": "Hello", "parameters": {"max_new_tokens": 256}}
    assert list(map(str, call.adjusted)) == ["max_tokens set to 256"]


def test_nulls_drop_their_key_unless_they_are_literal():
    request = {
        "p": {"$": "prompt"},
        "a": None,
        "b": [1, None, {"$": "seed"}, 2],
        "c": {"$": "literal", "value": None},
        "d": {"$": "literal", "value": {"$": "prompt"}},
    }
    assert sent(template(request=request)) == {"p": "Hello", "b": [1, 2], "c": None, "d": {"$": "prompt"}}


def test_the_whole_conversation_may_be_sent_with_its_instructions_apart():
    request = {"chat": {"$": "messages"}, "system": {"$": "system"}, "model": {"$": "model"}, "s": {"$": "stream"}}
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]

    assert sent(template(request=request), chat(messages)) == {
        "chat": HELLO, "system": "Be brief.", "model": "my-endpoint", "s": False,
    }  # fmt: skip
    assert sent(template(request={"chat": {"$": "messages"}}), chat(messages)) == {"chat": messages}
    assert sent(template(request=request)) == {"chat": HELLO, "model": "my-endpoint", "s": False}


def test_the_prompt_is_written_in_the_chosen_style():
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]

    assert sent(template(prompt_style="llama-2"), chat(messages))["inputs"] == (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST]"
    )
    assert sent(template(), chat(messages))["inputs"] == "Be brief.\n\nHello"


def test_a_completions_prompt_is_sent_as_it_is():
    call = Call(Mode.COMPLETION, Target("m", Mode.COMPLETION), {"prompt": ["Once <s>"]})

    assert sent(template(prompt_style="llama-2"), call)["inputs"] == "Once <s>"
    assert sent(template(request={"m": {"$": "messages"}}), call) == {"m": [{"role": "user", "content": "Once <s>"}]}


def test_texts_are_embedded():
    embedder = template(request={"texts": {"$": "input"}}, answer={"vectors": "data"})
    call = Call(Mode.EMBEDDING, Target("m", Mode.EMBEDDING), {"input": ["a", "b"]})

    assert sent(embedder, call) == {"texts": ["a", "b"]}
    found = json.loads(answered(embedder, {"data": [[1, 2], [[3, 4], [5, 6]]]}, call).body)
    assert [item["embedding"] for item in found["data"]] == [[1, 2], [4, 5]]


def test_a_call_that_has_no_place_in_the_template_is_refused():
    call = Call(Mode.EMBEDDING, Target("m", Mode.EMBEDDING), {"input": ["a"]})

    with pytest.raises(errors.RequestRefused, match="no place for what a call for embedding asks"):
        template().body(call)


def test_parameters_without_a_place_are_reported():
    call = chat(top_p=0.5, logit_bias={}, max_completion_tokens=5)
    call.forwarded = frozenset({"logit_bias"})

    assert sent(template(), call)["parameters"] == {"max_new_tokens": 5}
    assert list(map(str, call.adjusted)) == [
        "top_p dropped",
        "max_completion_tokens renamed to max_tokens",
        "logit_bias dropped",
    ]


def test_stops_are_sent_where_there_is_a_place_for_them():
    request = {"p": {"$": "prompt"}, "stop": {"$": "stop"}}
    call = chat(stop="END")

    assert sent(template(request=request, prompt_style="titan"), call)["stop"] == ["END", "\nUser:"]
    assert list(map(str, call.adjusted)) == ['stop extended by ["\\nUser:"]']


def test_stops_without_a_place_end_the_answer_here():
    call = chat(stop=["END"])

    assert sent(template(), call) == {"inputs": "Hello", "parameters": {"max_new_tokens": 256}}
    assert "stop applied to the answer, as the endpoint takes none" in map(str, call.adjusted)
    reply = answered(template(), [{"generated_text": "One END two"}], call)
    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "One "


HOSTILE = [
    '"',
    "\\",
    "\n",
    "}}",
    "{{7*7}}",
    '","x":1',
    "{0.__class__}",
    "%(x)s",
    "$x",
    '{"$": "system"}',
    "\0",
    "\u2028",
]


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_prompt_stays_one_text(prompt):
    assert sent(template(), chat([{"role": "user", "content": prompt}])) == {
        "inputs": prompt, "parameters": {"max_new_tokens": 256},
    }  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_prompt_changes_the_requests_shape(prompt):
    assert sent(template(), chat([{"role": "user", "content": prompt}]))["inputs"] == prompt


@pytest.mark.parametrize("text", ["{{7*7}}", "{% import os %}", "{{''.__class__}}", "{0.__class__}", "%(x)s", "$x"])
def test_there_is_no_template_language(text):
    request = {"p": {"$": "prompt"}, "literal": text, text: [text]}

    assert sent(template(request=request)) == {"p": "Hello", "literal": text, text: [text]}


# --- templates that are none -----------------------------------------------------------------------------

REFUSED = [
    ('{"inputs": {"$": "prompt"', "This is not JSON: Expecting ',' delimiter in line 1, column 26."),
    ("", "This is not JSON: Expecting value in line 1, column 1."),
    ('{"p": {"$": "prompt"}, "p": 1}', "The key p stands twice in one object."),
    ('{"p": {"$": "prompt"}, "t": NaN}', "NaN is not a number in JSON."),
    ("[" * 100_000, "nested too deeply"),
    ("{{prompt}}", "This is not JSON"),
    ({"inputs": "{{prompt}}"}, 'Nothing of what is asked goes into the request. Put in {"$": "prompt"}'),
    ({"t": {"$": "temperature"}}, "Nothing of what is asked goes into the request."),
    ([{"$": "prompt"}, {"$": "prompt"}], "The placeholder prompt stands more than once."),
    ([{"$": "prompt"}, {"$": "input"}], "A request either embeds (input) or asks"),
    ({"p": {"$": "promt"}}, "There is no placeholder 'promt'. There are: prompt, messages"),
    ({"p": {"$": ["prompt"]}}, "There is no placeholder \"['prompt']\""),
    ({"p": {"$": "prompt", "x": 1}}, "Beside $ the placeholder prompt may have a default only."),
    ({"p": {"$": "prompt"}, "l": {"$": "literal"}}, 'A literal is written as {"$": "literal", "value": …}.'),
    ({"p": {"$": "prompt"}, "bad": "\ud800"}, "holds something that cannot be written as JSON"),
]


@pytest.mark.parametrize(("request_", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_a_request_that_is_none_is_refused(request_, sentence):
    assert sentence in refusal(request=request_)


def test_a_template_may_not_be_larger_than_a_megabyte():
    assert f"at most {MAX_SIZE:,} are kept" in refusal(request={"p": {"$": "prompt"}, "x": "a" * MAX_SIZE})


def test_a_template_may_not_be_nested_deeply():
    deep: Any = {"$": "prompt"}
    for _ in range(40):
        deep = [deep]
    assert "nested too deeply; at most 32" in refusal(request=deep)
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in refusal(request=deep)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"answer": {}}, "Say where the text stands in an answer"),
        ({"answer": {"text": "a..b"}}, "cannot be read from '..b' on"),
        ({"answer": {"text": "a[x]"}}, "cannot be read from '[x]' on"),
        ({"answer": {"text": "a." * 200}}, "A path has at most 300 characters."),
        ({"stream": {"framing": "sse"}}, "Say where the new text stands in an event of a stream"),
        ({"request": {"x": {"$": "input"}}}, "Say where the vectors stand in an answer"),
        ({"content_type": "text/plain\r\nX: y"}, "one line of plain characters"),
        ({"prompt_style": "{{7*7}}"}, "Input should be"),
        ({"surprise": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_a_template_lacks_is_said(changes, sentence):
    assert sentence in refusal(**changes)


def test_every_placeholder_is_explained():
    assert all(PLACEHOLDERS.values())
    for name in PLACEHOLDERS.keys() - {"prompt", "messages", "input"}:
        template(request={"p": {"$": "prompt"}, "x": {"$": name}})


# --- paths -----------------------------------------------------------------------------------------------

CONTENT = {"choices": [{"text": "Hi", "n": 3}], "a.b": {"c d": None}, "list": []}
PATHS = [
    ("choices[0].text", "Hi"),
    ("choices[-1].n", 3),
    ('["a.b"]["c d"]', None),
    (".", CONTENT),
    ("list", []),
]
NOWHERE = [
    ("choices[0].txt", "leads to nothing: choices[0] has no txt, it has n, text."),
    ("choices[1].text", "leads to nothing: choices is a list of 1."),
    ("choices.text", "leads to nothing: choices is a list, not an object."),
    ("[0].text", "leads to nothing: the answer is an object, not a list."),
    ("choices[0].text.x", "leads to nothing: choices[0].text is a text, not an object."),
    ("choices[0].n", "leads to a number, not to a text."),
    ("choices", "leads to a list, not to a text."),
    ("choices[0]", "leads to an object, not to a text."),
    ('["a.b"]["c d"]', "leads to null, not to a text."),
]


@pytest.mark.parametrize(("path", "found"), PATHS)
def test_a_path_leads_to_what_stands_there(path, found):
    assert at(CONTENT, path) == found


@pytest.mark.parametrize(("path", "sentence"), NOWHERE)
def test_a_path_says_how_far_it_leads(path, sentence):
    with pytest.raises(PathProblem) as caught:
        text_at(CONTENT, path)

    assert str(caught.value) == f"The path {path} {sentence}"


def test_an_answer_without_the_text_is_told_to_connection_admins_only():
    with pytest.raises(errors.BadReply) as caught:
        answered(template(), [{"generated_text": 3, "secret": "words"}])

    assert caught.value.message == "The answer does not fit this model's query template."
    assert caught.value.evidence.startswith("The path [0].generated_text leads to a number, not to a text. It said:")


@given(st.text(max_size=30))
def test_any_text_is_a_path_or_refused(text):
    try:
        steps(text)
    except PathProblem:
        return
    assert isinstance(at({}, text), dict) if not steps(text) else True


# --- answers ---------------------------------------------------------------------------------------------


def test_an_answer_tells_text_reason_and_tokens():
    told = template(answer={"text": "out", "finish": "why", "prompt_tokens": "u.in", "completion_tokens": "u.out"})
    reply = answered(told, {"out": "Hi", "why": "MAX_TOKENS", "u": {"in": 3, "out": 2}})

    choice = json.loads(reply.body)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"], reply.finish_reason) == ("Hi", "length", "length")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 2)


def test_an_answer_may_be_the_text_itself():
    for body in (b"Hi there", b'"Hi there"'):
        reply = answered(template(answer={"text": "."}), body)
        assert json.loads(reply.body)["choices"][0]["message"]["content"] == "Hi there"
        assert reply.usage.prompt_tokens is None


def test_a_completion_is_answered_as_one():
    call = Call(Mode.COMPLETION, Target("m", Mode.COMPLETION), {"prompt": "x"})

    assert json.loads(answered(template(), [{"generated_text": "Hi"}], call).body)["choices"][0]["text"] == "Hi"


@pytest.mark.parametrize(
    ("path", "body"),
    [("", {"error": "no memory"}), ("fault.why", {"fault": {"why": "no memory"}}), ("e", {"e": {"no": "memory"}})],
)
def test_an_error_inside_an_answer_is_one(path, body):
    with pytest.raises(errors.ServerFailed) as caught:
        answered(template(error=path), body)

    assert "memory" in caught.value.evidence
    assert "memory" not in caught.value.message


# --- streams ---------------------------------------------------------------------------------------------


def streamed(of: QueryTemplate, *events: bytes, **body: Any) -> tuple[str, Any]:
    call = chat(**body)
    call.stream = True
    reading, frames = of.events(call, []), SSE()
    found = [frame for event in events for frame in frames.feed(b"data: " + event + b"\n\n")] + frames.end()
    chunks = [json.loads(chunk) for frame in found for chunk in reading.feed(frame)]
    chunks += [json.loads(chunk) for chunk in reading.end()]
    deltas = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    return "".join(deltas), reading


def test_a_stream_tells_its_pieces():
    of = template(stream={"text": "t", "finish": "why", "end": "[DONE]", "completion_tokens": "n"})
    text, reading = streamed(of, b'{"t": "He"}', b'{"ping": 1}', b'{"t": "y", "why": "limit"}', b'{"n": 2}', b"[DONE]")

    assert (text, reading.finish_reason, reading.usage.completion_tokens) == ("Hey", "length", 2)


def test_a_cumulative_stream_tells_what_is_new():
    of = template(stream={"text": "t", "cumulative": True})

    assert streamed(of, b'{"t": "He"}', b'{"t": "Hey"}', b'{"t": "He"}', b'{"t": "Hey you"}')[0] == "Hey you"


def test_a_stream_is_cut_at_stops_without_a_place():
    assert streamed(template(stream={"text": "t"}), b'{"t": "One E"}', b'{"t": "ND two"}', stop="END")[0] == "One "


@pytest.mark.parametrize("stream", [{"end": "[DONE]"}, {"finish": "why"}])
def test_a_stream_without_its_proper_end_was_cut_off(stream):
    with pytest.raises(errors.BadReply, match="cut off"):
        streamed(template(stream={"text": "t", **stream}), b'{"t": "He"}')


def test_a_stream_without_any_text_is_empty():
    with pytest.raises(errors.BadReply, match="cut off"):
        streamed(template(stream={"text": "t"}), b'{"x": "He"}')


def test_a_stream_with_a_number_for_its_text_does_not_fit():
    with pytest.raises(errors.BadReply, match="does not fit"):
        streamed(template(stream={"text": "t"}), b'{"t": 5}')


def test_an_error_inside_a_stream_is_one():
    with pytest.raises(errors.ServerFailed):
        streamed(template(stream={"text": "t"}), b'{"t": "He"}', b'{"error": "gone"}')


def test_a_stream_that_no_template_describes_is_refused():
    with pytest.raises(errors.BadReply, match="knows no streams"):
        template().events(chat(), [])


# --- samples ---------------------------------------------------------------------------------------------

GOOD = [
    {"kind": "request", "given": {"prompt": "Hi"}, "expected": {"inputs": "Hi", "parameters": {"max_new_tokens": 256}}},
    {"kind": "request", "given": {"messages": HELLO, "max_tokens": 5},
     "expected": {"inputs": "Hello", "parameters": {"max_new_tokens": 5}}},
    {"kind": "answer", "given": [{"generated_text": "Hey"}], "expected": "Hey"},
    {"kind": "answer", "given": '[{"generated_text": "Hey"}]', "expected": {"text": "Hey", "finish_reason": "stop"}},
    {"kind": "stream", "given": 'data:{"t": "He"}\n\ndata:{"t": "y", "n": 2}\n\n',
     "expected": {"text": "Hey", "completion_tokens": 2}},
    {"kind": "error", "given": {"error": "no memory"}, "expected": "no memory"},
    {"kind": "error", "given": {"error": {"message": "bad words", "code": 400}}, "expected": {"message": "bad words"}},
]  # fmt: skip
STREAM = {"text": "t", "completion_tokens": "n"}


@pytest.mark.parametrize("sample", GOOD, ids=range(len(GOOD)))
def test_a_sample_that_holds_passes(sample):
    found = template(stream=STREAM, samples=[{"name": "one", **sample}])

    assert [outcome.problem for outcome in found.outcomes()] == [""]


BAD = [
    ("request", {"prompt": "Hi"}, {"inputs": "Ho", "parameters": {"max_new_tokens": 256}},
     'Expected "Ho" at inputs, got "Hi".'),
    ("request", {"prompt": "Hi"}, {"inputs": "Hi", "parameters": {"max_new_tokens": 5}},
     "Expected 5 at parameters.max_new_tokens, got 256."),
    ("request", {"prompt": "Hi"}, {"inputs": "Hi"}, 'Expected nothing at parameters, got {"max_new_tokens": 256}.'),
    ("request", {"prompt": "Hi"}, [], 'Expected [], got {"inputs": "Hi"'),
    ("request", {"say": "Hi"}, {}, "A call has messages, a prompt or an input."),
    ("request", {"messages": "Hi"}, {}, "The messages of a call are written as"),
    ("request", {"prompt": 5}, {}, "The prompt of a sample is one text."),
    ("request", {"input": ["a"]}, {}, "no place for what a call for embedding asks"),
    ("request", "Hi", {}, "A call is an object"),
    ("answer", [{"generated_text": "Hey"}], "Ho", 'Expected "Ho" at text, got "Hey".'),
    ("answer", [{"generated": "Hey"}], "Hey",
     "The path [0].generated_text leads to nothing: [0] has no generated_text, it has generated."),
    ("answer", [{"generated_text": 7}], "Hey", "The path [0].generated_text leads to a number, not to a text."),
    ("answer", "<html>", "Hey", "The provider answered in a form we cannot read."),
    ("answer", [{"generated_text": "Hey"}], {"text": "Hey", "prompt_tokens": 3},
     "Expected 3 at prompt_tokens, got null. There is no path to prompt_tokens."),
    ("answer", [{"generated_text": "Hey"}], {"words": 3}, "Nothing is known of 'words'."),
    ("answer", [{"generated_text": "Hey"}], {}, "Say what is expected"),
    ("answer", {"error": "no memory"}, "Hey", "no memory"),
    ("stream", 'data:{"t": "He"}\n\n', "Hey", 'Expected "Hey" at text, got "He".'),
    ("stream", "", "Hey", "cut off"),
    ("error", [{"generated_text": "Hey"}], "no memory",
     'Expected the error "no memory", but it was read as an answer.'),
    ("error", {"error": "no disk"}, "no memory", 'Expected "no memory", got "no disk".'),
    ("error", {"x": 1}, "no memory", 'Expected the error "no memory"; it was not found. The path'),
    ("error", {"x": 1}, 5, "Say which message is expected"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given_", "expected", "sentence"), BAD, ids=range(len(BAD)))
def test_a_failing_sample_says_what_was_expected_and_what_came(kind, given_, expected, sentence):
    sample = {"name": "greeting", "kind": kind, "given": given_, "expected": expected}
    said = refusal(stream=STREAM, samples=[sample])

    assert "Sample “greeting”: " in said
    assert sentence in said


def test_every_failing_sample_is_named():
    samples = [{"name": name, "kind": "answer", "given": "{}", "expected": "x"} for name in ("one", "two")]

    assert {"“one”" in refusal(samples=samples), "“two”" in refusal(samples=samples)} == {True}


def test_a_stored_template_is_not_proven_again():
    sample = {"name": "old", "kind": "answer", "given": "{}", "expected": "x"}
    found = QueryTemplate.model_validate({**SHAPE, "samples": [sample]}, context=STORED)

    assert found.outcomes()[0].problem


def test_a_numbers_path_that_leads_astray_is_explained():
    answer = {"text": "t", "prompt_tokens": "u.in"}
    sample = {"name": "n", "kind": "answer", "given": {"t": "x", "u": {"out": 2}}, "expected": {"prompt_tokens": 2}}

    assert "The path u.in leads to nothing: u has no in, it has out." in refusal(answer=answer, samples=[sample])


def test_a_stream_of_whole_pieces_is_read_at_its_end():
    sample = {"name": "w", "kind": "stream", "given": '{"t": "Hey"}', "expected": "Hey"}

    assert template(stream={"text": "t", "framing": "whole"}, samples=[sample])


def test_a_stream_of_lines_is_read():
    sample = {"name": "l", "kind": "stream", "given": '{"t": "He"}\n{"t": "y"}', "expected": "Hey"}

    assert template(stream={"text": "t", "framing": "lines"}, samples=[sample])


def test_fields_that_hold_templates_are_found():
    class Options(ModelOptions):
        one: QueryTemplate | None = setting("One", default=None)
        other: str = setting("Other", default="")

    assert template_names(Options) == ["one"]
    assert template_names(PromptOptions) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["t", "$", "error", "text", "[0]", "default"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_no_answer_raises_anything_but_provider_errors(content):
    of = template(answer={"text": "t[0].text", "prompt_tokens": "t[1]"}, stream={"text": "t"}, error="error.text")
    for read in (lambda: answered(of, content), lambda: streamed(of, json.dumps(content).encode())):
        with suppress(errors.ProviderError):
            read()


@given(JSON, JSON, JSON)
def test_no_template_raises_anything_but_validation_errors(request, answer, sample):
    samples = [{"name": "x", "kind": "answer", "given": sample, "expected": sample}]
    with suppress(ValidationError):
        QueryTemplate.model_validate({"request": request, "answer": answer, "samples": samples})


def test_the_example_of_the_docs_holds():
    page = (Path(__file__).parents[2] / "docs" / "query-templates.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0]

    assert QueryTemplate.model_validate_json(example).outcomes()
    assert all(f"`{name}`" in page for name in PLACEHOLDERS)


def test_every_prompt_format_is_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "query-templates.md").read_text()
    words = set(page.replace(",", " ").replace(". ", " ").replace(".\n", " ").split())

    assert set(FORMATS) - {"plain", "raw"} <= words
