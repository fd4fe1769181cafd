"""The fake hosts of Gemini speak what Google's own client expects: it judges paths, proofs, answers and streams."""

import base64

import pytest

from tests.upstream.faults import Fault
from tests.upstream.google import BLOCKED, SIGNATURE
from tests.upstream.google_identity import TOKEN


@pytest.fixture(params=["gemini", "vertex"])
def client(request, upstream):
    """Google's client, talking to each of the hosts."""
    from google import genai
    from google.genai.types import HttpOptions
    from google.oauth2.credentials import Credentials

    if request.param == "gemini":
        address = upstream.url("gemini").removesuffix("/v1beta")
        return genai.Client(api_key=upstream.key, http_options=HttpOptions(base_url=address))
    options = HttpOptions(base_url=upstream.url("vertex"), api_version="v1")
    return genai.Client(
        vertexai=True, project="mesh-tests-1234", location="us-central1", credentials=Credentials(f"{TOKEN}-7"),
        http_options=options,
    )  # fmt: skip


def test_googles_client_reads_an_answer(client, upstream):
    upstream.always(Fault.answer(cached=2, reasoning=4))

    answer = client.models.generate_content(model="gemini-3.8-flash", contents="one two")

    told = answer.usage_metadata
    assert (answer.text, answer.candidates[0].finish_reason.name) == ("one two", "STOP")
    assert (told.prompt_token_count, told.candidates_token_count, told.thoughts_token_count) == (4, 2, 4)
    assert told.cached_content_token_count == 2


def test_googles_client_reads_a_stream(client):
    pieces = list(client.models.generate_content_stream(model="gemini-3.8-flash", contents="Größe 🙂 日本"))

    assert "".join(piece.text or "" for piece in pieces) == "Größe 🙂 日本"
    assert pieces[-1].usage_metadata.candidates_token_count == 3


def test_googles_client_sends_the_signature_back(client):
    """A conversation with tools, as Google's client has it: the fake takes it, and would refuse it without."""
    from google.genai import types

    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    declared = types.FunctionDeclaration(name="look_up", description="", parameters_json_schema=schema)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
    asked = types.Content(role="user", parts=[types.Part(text="fish")])

    first = client.models.generate_content(model="gemini-3.8-flash", contents=[asked], config=config)
    said = first.candidates[0].content
    result = types.Part.from_function_response(name="look_up", response={"output": "An animal."})
    history = [asked, said, types.Content(role="user", parts=[result])]
    second = client.models.generate_content(model="gemini-3.8-flash", contents=history, config=config)

    assert said.parts[0].thought_signature == base64.b64decode(SIGNATURE)
    assert second.text == "An animal."


def test_googles_client_sees_a_blocked_prompt(client):
    answer = client.models.generate_content(model="gemini-3.8-flash", contents=BLOCKED)

    assert answer.candidates is None
    assert answer.prompt_feedback.block_reason.name == "PROHIBITED_CONTENT"


def test_googles_client_reads_an_error(client, upstream):
    from google.genai.errors import ServerError

    upstream.always(Fault.status(503))

    with pytest.raises(ServerError) as refusal:
        client.models.generate_content(model="gemini-3.8-flash", contents="one")

    assert (refusal.value.code, refusal.value.status) == (503, "UNAVAILABLE")
