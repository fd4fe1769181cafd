"""The page of a query template: written, tried, proven by its samples, and refused with the place that is wrong."""

import json
from html import unescape

import pytest
from django.urls import reverse

from access.models import AuditEvent
from connections.models import Model
from tests.mesh import make_connection
from tests.upstream import sigv4

TEMPLATE = {"request": {"q": {"$": "prompt"}}, "answer": {"text": "a"}}
FORM = {
    "request": '{"q": {"$": "prompt"}, "n": {"$": "max_tokens"}}',
    "prompt_style": "raw",
    "content_type": "application/json",
    "accept": "application/json",
    "answer_text": "a",
    "stream_framing": "sse",
    "sample_call": '{"prompt": "Hi \\"you\\"", "max_tokens": 5}',
    "samples-TOTAL_FORMS": "2",
    "samples-INITIAL_FORMS": "0",
}
PASSES = {"name": "one", "kind": "answer", "given": '{"a": "Hey"}', "expected": "Hey"}
FAILS = {**PASSES, "expected": "Ho"}
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def model(db, upstream):
    secrets = {"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET}
    settings = {"region": "us-east-1", "endpoint_url": upstream.url("sagemaker")}
    options = {"shape": "own-template"}
    connection = make_connection(
        upstream, "sagemaker", {"own-1": "chat"}, kind="sagemaker", settings=settings, secrets=secrets, options=options
    )
    return connection.models.get()


@pytest.fixture
def admin(client, ada):
    client.force_login(ada)
    return client


def address(model, page="connection-template", name="template"):
    return reverse(page, args=[model.connection_id, model.pk, name])


def form(*samples, **changes):
    fields = {
        f"samples-{place}-{name}": value for place, sample in enumerate(samples) for name, value in sample.items()
    }
    blanks = {f"samples-{place}-kind": "request" for place in range(len(samples), 2)}
    return {**FORM, **blanks, **fields, **changes}


def shown(response):
    return unescape(response.content.decode())


def stored(model):
    return Model.objects.get(pk=model.pk).options


def test_a_template_is_written_and_told_to_the_audit_log(admin, model):
    answer = admin.post(address(model), form(PASSES))

    assert answer.url == reverse("connection-model", args=[model.connection_id, model.pk])
    assert stored(model) == {
        "shape": "own-template",
        "template": {
            "request": json.loads(FORM["request"]),
            "answer": {"text": "a"},
            "samples": [{"name": "one", "kind": "answer", "given": {"a": "Hey"}, "expected": "Hey"}],
        },
    }
    assert AuditEvent.objects.filter(action="model.changed").exists()


def test_the_page_begins_with_a_template_that_works(admin, model):
    page = shown(admin.get(address(model)))

    assert '{"$": "prompt"}' in page
    assert '"inputs": "Say \\"hello\\" in {{three}} words."' in page
    assert "All placeholders" in page


def test_the_page_shows_what_is_stored(admin, model):
    admin.post(address(model), form(PASSES, streams="on", stream_text="t", stream_end="[DONE]"))
    page = shown(admin.get(address(model)))

    assert "Passes." in page
    assert 'value="[DONE]"' in page
    assert '"a": "Hey"' in page


def test_a_failing_sample_is_not_saved(admin, model):
    answer = admin.post(address(model), form(PASSES, {**FAILS, "name": "two"}))

    assert answer.status_code == 422
    assert "Not saved, as samples fail: two." in shown(answer)
    assert 'Expected "Ho" at text, got "Hey".' in shown(answer)
    assert "template" not in stored(model)


def test_a_removed_or_blank_sample_is_none(admin, model):
    admin.post(address(model), form({**FAILS, "remove": "on"}))

    assert "samples" not in stored(model)["template"]


WRONG = [
    ({"request": "{{prompt}}"}, "This is not JSON"),
    ({"request": '{"q": "{{prompt}}"}'}, "Nothing of what is asked goes into the request."),
    ({"request": "[" * 50_000}, "nested too deeply"),
    ({"request": json.dumps({"q": {"$": "prompt"}, "x": "a" * 10**6})}, "at most 1,000,000 are kept"),
    ({"answer_text": "a..b"}, "cannot be read from"),
    ({"answer_text": ""}, "Say where the text stands in an answer"),
    ({"streams": "on"}, "Say where the new text stands in an event"),
    ({"prompt_style": "evil"}, "not one of the available choices"),
    ({"accept": "a\r\nb"}, "one line of plain characters"),
    ({"samples-TOTAL_FORMS": "1000000"}, "samples"),
    ({"samples-0-name": "x\x07y", "samples-0-expected": "x"}, "invisible or control characters"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("page", ["connection-template", "connection-template-try"])
def test_what_is_wrong_is_said_and_nothing_is_saved(admin, model, page, changes, sentence):
    answer = admin.post(address(model, page), form(**changes))

    assert answer.status_code == (422 if page == "connection-template" else 200)
    assert sentence in shown(answer)
    assert "template" not in stored(model)


def test_trying_shows_the_exact_request_and_saves_nothing(admin, model):
    page = shown(admin.post(address(model, "connection-template-try"), form(FAILS), **HTMX))

    assert '"q": "Hi \\"you\\"",\n  "n": 5' in page
    assert '<hx-partial hx-target="#outcome-0">' in page
    assert 'Expected "Ho" at text, got "Hey".' in page
    assert "0 samples pass, 1 fails." in page
    assert "<html" not in page
    assert "template" not in stored(model)


def test_trying_works_without_javascript_and_makes_room(admin, model):
    answer = admin.post(address(model, "connection-template-try"), form(PASSES, {**PASSES, "name": "two"}))

    page = shown(answer)
    assert '"q": "Hi \\"you\\""' in page
    assert "2 samples pass." in page
    assert 'name="samples-2-name"' in page


@pytest.mark.parametrize(
    ("call", "sentence"),
    [("[]", "A call is an object"), ('{"input": ["x"]}', "no place for what a call for embedding")],
)
def test_a_sample_call_that_is_none_is_told(admin, model, call, sentence):
    assert sentence in shown(admin.post(address(model, "connection-template-try"), form(sample_call=call), **HTMX))


def test_a_stream_that_reads_as_json_stays_text(admin, model):
    sample = {"name": "s", "kind": "stream", "given": '{"t": "Hey"}\r\n', "expected": "Hey"}
    admin.post(address(model), form(sample, streams="on", stream_framing="lines", stream_text="t"))

    assert stored(model)["template"]["samples"][0]["given"] == '{"t": "Hey"}\n'


def test_the_models_own_page_leads_here_and_leaves_the_template_alone(admin, model):
    admin.post(address(model), form())
    own = reverse("connection-model", args=[model.connection_id, model.pk])
    assert address(model) in shown(admin.get(own))

    admin.post(own, {"options-shape": "hf-tgi", "options-prompt_format": "", "options-streaming": "on"})

    assert stored(model)["shape"] == "hf-tgi"
    assert stored(model)["template"]["answer"] == {"text": "a"}


def test_a_template_is_removed(admin, model):
    admin.post(address(model), form())
    admin.post(address(model, "connection-template-remove"))

    assert stored(model) == {"shape": "own-template"}


def test_a_template_of_an_older_version_does_not_break_the_page(admin, model):
    Model.objects.filter(pk=model.pk).update(options={"template": {"bygone": 1}})

    assert admin.get(address(model)).status_code == 200


@pytest.mark.parametrize("name", ["shape", "nothing", "..", "template'--"])
def test_other_options_have_no_page(admin, model, name):
    assert admin.get(address(model, name=name)).status_code == 404


def test_only_those_who_manage_connections_get_there(client, model, alice):
    client.force_login(alice)

    assert client.get(address(model)).status_code == 403
    for page in ("connection-template", "connection-template-try", "connection-template-remove"):
        assert client.post(address(model, page), form()).status_code == 403


def test_the_api_proves_the_samples_too(client, ada, key_for, model):
    def patch(expected):
        sample = {"name": "s", "kind": "answer", "given": {"a": "x"}, "expected": expected}
        body = {"options": {"shape": "own-template", "template": {**TEMPLATE, "samples": [sample]}}}
        headers = {"authorization": f"Bearer {key_for(ada)}"}
        path = f"/api/models/{model.pk}/"
        return client.patch(path, json.dumps(body), content_type="application/json", headers=headers)

    refused = patch("y")
    assert refused.status_code == 400
    assert "Sample “s”: Expected" in refused.json()["error"]["message"]

    assert patch("x").status_code == 200
    assert stored(model)["template"]["samples"][0]["expected"] == "x"
