"""The tabs beside the chat: the same rights, the same path, and pictures that can harm nobody."""

import base64
import json
import os
import subprocess

import pytest
from django.urls import reverse

from connections.models import Model
from connections.providers.calls import Mode
from gateway.models import Usage
from playground.attempt_forms import EmbeddingForm, ImageForm, RerankForm
from playground.attempts import PATHS, Attempt
from playground.snippets import curl
from tests.playground.conftest import Visitor
from tests.upstream.faults import Fault
from tests.upstream.openai import DOT

MODELS = {"flux": Mode.IMAGE, "embed": Mode.EMBEDDING, "bge": Mode.RERANK, "local-text": Mode.COMPLETION}
TABS = ["images", "embeddings", "rerank"]


@pytest.fixture
def visitor(mesh, connect, alice, analysts) -> Visitor:
    connect("compatible", MODELS, group=analysts)
    connect("openai", {"dall-e-3": Mode.IMAGE}, name="other")
    mesh.refresh()
    return Visitor(mesh, alice)


def asked(visitor, tab, htmx=True, **fields):
    response = visitor.open("POST", f"/playground/tabs/{tab}/", fields, htmx=htmx)
    return response.status, response.read().decode()


# --- what is shown


def test_pictures_are_made_and_shown(visitor, upstream):
    status, page = asked(visitor, "images", model="compatible/flux", prompt="A <fish>", n=2, size="512x512", style="")

    assert status == 200
    assert page.count(f'src="data:image/png;base64,{DOT}"') == 2
    assert "A &lt;fish&gt;!" in page
    assert "2 pictures" in page
    [sent] = upstream.requests
    expected = {"model": "flux", "prompt": "A <fish>", "n": 2, "size": "512x512", "response_format": "b64_json"}
    assert sent.json == expected
    row = Usage.objects.get()
    assert (row.source, row.mode, row.images, row.principal) == ("playground", "image", 2, "alice")


def test_texts_are_compared(visitor, upstream):
    _, page = asked(visitor, "embeddings", model="compatible/embed", input="red fish\r\n\r\nred fish\nbird")

    assert upstream.requests[0].json["input"] == ["red fish", "red fish", "bird"]
    assert "<strong>3</strong> texts in <strong>8</strong> dimensions" in page
    assert page.count('data-near="5">1.00') == 5
    assert "&quot;embedding&quot;: [" in page


def test_documents_are_ranked(visitor, upstream):
    _, page = asked(
        visitor, "rerank", model="compatible/bge", query="red fish", documents="a bird\na red fish", top_n=2
    )

    assert page.index("a red fish") < page.index("a bird")
    assert "1.0000" in page


def test_what_was_sent_is_shown_with_its_changes(visitor, upstream):
    Model.objects.filter(upstream_id="flux").update(options={})
    _, page = asked(visitor, "images", model="compatible/flux", prompt="A fish")

    assert "/compatible/v1/images/generations" in page
    assert upstream.key not in page


@pytest.mark.parametrize("tab", TABS)
def test_without_javascript_it_is_a_whole_page(visitor, tab):
    page = visitor.get(f"/playground/tabs/{tab}/")

    assert "<h1>Playground</h1>" in page
    assert "compatible/" in page
    assert "other/dall-e-3" not in page


def test_a_filtered_picture_says_so(visitor, upstream):
    refusal = {"error": {"message": "Blocked.", "code": "content_policy_violation", "type": "invalid_request_error"}}
    upstream.script(Fault.body(json.dumps(refusal).encode(), status=400))

    _, page = asked(visitor, "images", model="compatible/flux", prompt="A fish")

    assert "Word the message differently." in page
    assert "req_" in page


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"<svg onload=alert(1)>", False),
        (b"<html>", False),
        (b"", False),
        (b"\xff\xd8\xff....", True),
        (b"GIF89a....", True),
    ],
)
def test_only_what_is_a_picture_becomes_one(content, shown):
    made = Attempt(Mode.IMAGE, {}, {"data": [{"b64_json": base64.b64encode(content).decode()}]})

    assert bool(made.pictures[0].source) is shown


@pytest.mark.parametrize("data", ['"><script>', "////\n\"'", "%%%", "ünï"])
def test_data_that_is_no_base64_is_no_picture(data):
    assert Attempt(Mode.IMAGE, {}, {"data": [{"b64_json": data}]}).pictures[0].source == ""


@pytest.mark.parametrize(
    ("url", "kept"), [("https://x.test/a.png", True), ("javascript:alert(1)", False), ("data:,x", False)]
)
def test_only_proper_addresses_become_links(url, kept):
    assert bool(Attempt(Mode.IMAGE, {}, {"data": [{"url": url}]}).pictures[0].address) is kept


def test_vectors_without_length_are_near_nothing():
    made = Attempt(
        Mode.EMBEDDING,
        {"input": ["a", "b"]},
        {"data": [{"index": 1, "embedding": [1, 0]}, {"index": 0, "embedding": [0, 0]}]},
    )

    assert made.vectors.rows == [("a", [0.0, 0.0]), ("b", [0.0, 1.0])]


# --- the forms


def test_parameters_are_those_that_the_model_takes(visitor, alice):
    form = ImageForm(user=alice)
    other = EmbeddingForm(user=alice)

    assert {"n", "size", "style", "negative_prompt"} <= set(form.fields)
    assert {"response_format", "user", "moderation"}.isdisjoint(form.fields)
    assert {"dimensions", "input_type"} <= set(other.fields)
    assert "size" not in other.fields


@pytest.mark.parametrize(
    ("tab", "fields", "sentence"),
    [
        ("images", {"model": "compatible/flux", "prompt": ""}, "Say what the picture shows."),
        ("images", {"model": "compatible/flux", "prompt": "x", "n": "0"}, "greater than or equal to 1"),
        ("images", {"model": "compatible/flux", "prompt": "x", "n": "two"}, "Enter a whole number."),
        ("images", {"model": "other/dall-e-3", "prompt": "x"}, "There is no such model for you."),
        ("images", {"model": "compatible/embed", "prompt": "x"}, "There is no such model for you."),
        ("images", {"prompt": "x"}, "Pick a model first."),
        ("embeddings", {"model": "compatible/embed", "input": " \n "}, "Write at least one text."),
        ("embeddings", {"model": "compatible/embed", "input": "x\n" * 33}, "At most 32 lines"),
        ("rerank", {"model": "compatible/bge", "query": "", "documents": "x"}, "Write what is looked for."),
        ("rerank", {"model": "compatible/bge", "query": "x", "documents": ""}, "Write at least one document."),
    ],
)
@pytest.mark.parametrize("htmx", [True, False])
def test_bad_input_is_told_beside_its_field(visitor, upstream, tab, fields, sentence, htmx):
    status, page = asked(visitor, tab, htmx=htmx, **fields)

    assert status == 422
    assert sentence in page
    assert upstream.requests == []


def test_another_model_shows_its_parameters_and_keeps_what_was_typed(visitor):
    response = visitor.open(
        "POST", "/playground/tabs/images/model", {"model": "compatible/flux", "prompt": "A fish"}, htmx=True
    )

    page = response.read().decode()
    assert response.status == 200
    assert "A fish</textarea>" in page
    assert "<h1>" not in page


def test_a_bad_value_of_a_provider_is_told(visitor, upstream):
    _, page = asked(visitor, "images", model="compatible/flux", prompt="x", size="big")

    assert "must be like 1024x1024" in page
    assert upstream.requests == []


def test_a_tab_that_does_not_exist(client, alice):
    client.force_login(alice)

    assert client.get("/playground/tabs/videos/").status_code == 404


def test_nobody_without_models_is_left_in_the_dark(client, charlie):
    client.force_login(charlie)

    for tab in TABS:
        assert "No model for this is granted to you" in client.get(reverse("playground-tab", args=[tab])).text


def test_a_ranking_form_takes_two_texts(visitor, alice):
    assert [field.name for field in RerankForm(user=alice).asked] == ["query", "documents"]


# --- the exact prompt


def test_the_text_that_a_completion_model_gets_is_shown(visitor, upstream):
    visitor.ask("one two", model="compatible/local-text").rest()

    page = visitor.get(f"/playground/runs/{visitor.run.pk}/request")

    assert visitor.run.effective["prompt"] == upstream.requests[0].json["prompt"]
    assert "The text that the model gets" in page
    assert "messages sent as one prompt" in page


# --- the same call from elsewhere


@pytest.mark.parametrize(
    ("mode", "body"),
    [
        (Mode.IMAGE, {"model": "compatible/flux", "prompt": 'It\'s a "$HOME" `fish`', "n": 2}),
        (Mode.EMBEDDING, {"model": "compatible/embed", "input": ["a", "it's b"]}),
        (Mode.RERANK, {"model": "compatible/bge", "query": "a", "documents": ["a", "b"]}),
    ],
)
def test_the_code_makes_the_same_call(visitor, alice, key_for, upstream, mode, body):
    code = curl(body, visitor.mesh.url, PATHS[mode])
    environment = {**os.environ, "MESH_API_KEY": key_for(alice)}
    visitor.mesh.refresh()

    done = subprocess.run(["bash"], input=code, env=environment, capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout).keys() & {"data", "results"}
    sent = upstream.requests[0].json
    assert {name: sent[name] for name in body if name != "model"} == {
        name: body[name] for name in body if name != "model"
    }


def test_the_code_is_on_the_page(visitor):
    _, page = asked(visitor, "rerank", model="compatible/bge", query="</pre><script>", documents="a")

    assert "/v1/rerank" in page
    assert "<script>" not in page
