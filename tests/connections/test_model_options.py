"""What is set for one model: by a form made from its provider's schema, by the API, and from the catalogue."""

import json
from typing import Literal

import pytest
from django import forms
from django.http import QueryDict
from django.urls import reverse

from access.models import AuditEvent
from connections import services
from connections.account import settle
from connections.model_forms import ModelOptionsForm, OwnModelsForm
from connections.models import Model
from connections.providers import registry
from connections.providers.compatible import OpenAICompatible
from connections.providers.settings import ModelOptions, setting
from connections.services.model_options import OptionsRefused, checked_model_options
from tests.connections.accounts import connect as connect_openai


class Choosy(OpenAICompatible):
    """A provider with an option of each sort; it is not registered, as it has no kind of its own."""

    class ModelOptions(ModelOptions):
        route: Literal["auto", "chat"] = setting("Route", default="auto", help="Which one.")
        style: Literal["old", "new"] | None = setting("Style", default=None, help="If any.")
        window: int | None = setting("Window", default=None, help="In tokens.", ge=512, le=1_000_000)
        cached: bool = setting("Cached", default=False, help="Or not.")
        streams: bool | None = setting("Streams", default=None, help="Blank: as known.")
        stops: list[str] = setting("Stops", default=[], help="One per line.")
        template: str = setting("Template", default="", help="Of many lines.", multiline=True)
        body: dict[str, object] = setting("Body", default={}, help="As JSON.")
        endpoint_url: str = setting("Endpoint", default="", help="Where it is.")


def form(**typed):
    data = QueryDict(mutable=True)
    data.update({f"options-{name}": value for name, value in typed.items()})
    return ModelOptionsForm(Choosy, data)


def test_each_sort_of_option_has_its_field():
    fields = ModelOptionsForm(Choosy).fields

    assert {name: type(field) for name, field in fields.items()} == {
        "route": forms.ChoiceField,
        "style": forms.ChoiceField,
        "window": forms.IntegerField,
        "cached": forms.BooleanField,
        "streams": forms.TypedChoiceField,
        "stops": type(fields["stops"]),
        "template": forms.CharField,
        "body": forms.JSONField,
        "endpoint_url": forms.CharField,
    }
    assert fields["style"].choices[0] == ("", "–")
    assert fields["route"].choices[0] == ("auto", "auto")


def test_what_is_typed_is_kept_and_defaults_are_not():
    typed = form(
        route="auto",
        style="new",
        window="1024",
        streams="False",
        stops="END\nSTOP\n",
        template="a\nb",
        body='{"inputs": {"top": 1}}',
    )

    assert typed.is_valid(), typed.errors
    assert typed.options == {
        "style": "new",
        "window": 1024,
        "streams": False,
        "stops": ["END", "STOP"],
        "template": "a\nb",
        "body": {"inputs": {"top": 1}},
    }


def test_blank_fields_mean_defaults():
    assert form().is_valid()
    assert form().options == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("route", "other"),
        ("style", "other"),
        ("window", "10"),
        ("window", "many"),
        ("streams", "maybe"),
        ("body", "{"),
        ("body", "[1]"),
        ("endpoint_url", "https://169.254.169.254/latest"),
    ],
)
def test_a_bad_option_is_told_beside_its_field(name, text):
    typed = form(**{name: text})

    assert not typed.is_valid()
    assert list(typed.errors) == [name]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"nothing": 1}, "nothing: OpenAI-compatible endpoint has no setting of this name."),
        ({"window": 5}, "Window: Input should be greater than or equal to 512."),
        ({"route": None}, "Route: Input should be 'auto' or 'chat'."),
    ],
)
def test_a_refusal_names_the_option_by_its_title(given, sentence):
    with pytest.raises(OptionsRefused) as caught:
        checked_model_options(Choosy, given)

    assert caught.value.sentences == [sentence]


def test_options_hold_no_secrets_and_explain_themselves():
    for kind in registry.providers().values():
        for name, info in kind.ModelOptions.model_fields.items():
            assert info.title and info.description, f"{kind.kind}: {name}"
            assert "Secret" not in str(info.annotation), f"{kind.kind}: {name}"


# --- own ids


def test_typed_models_get_the_options_typed_with_them():
    data = QueryDict("upstream_ids=one%0Atwo&mode=completion&options-style=new")

    typed = OwnModelsForm(Choosy, data)

    assert typed.is_valid(), typed.errors
    found = [(choice.upstream_id, choice.mode, choice.options) for choice in typed.choices()]
    assert found == [("one", "completion", {"style": "new"}), ("two", "completion", {"style": "new"})]


def test_bad_options_hinder_only_models_that_are_typed():
    assert OwnModelsForm(Choosy, QueryDict("mode=chat&options-window=5")).is_valid()
    assert not OwnModelsForm(Choosy, QueryDict("upstream_ids=one&mode=chat&options-window=5")).is_valid()


def test_only_the_kinds_that_a_provider_has_can_be_chosen():
    anthropic = registry.providers()["anthropic"]

    assert {value for value, _ in OwnModelsForm(anthropic).fields["mode"].choices} == anthropic.modes
    assert not OwnModelsForm(anthropic, QueryDict("upstream_ids=one&mode=image")).is_valid()


# --- pages and API


@pytest.fixture
def ollama(ada, settings):
    """A connection whose provider has options, with a model."""
    account = settle(registry.providers()["ollama"], {"base_url": "http://127.0.0.1:11434"}, {})
    connection = services.create_connection(ada, account, {"name": "Ollama"})
    services.add_models(ada, connection, [services.ModelChoice("llama3.2")])
    return connection


@pytest.fixture
def api(client, key_for):
    def send(user, method, path, body=None):
        headers = {"authorization": f"Bearer {key_for(user)}"}
        data = "" if body is None else json.dumps(body)
        answer = client.generic(method, path, data, content_type="application/json", headers=headers)
        return answer.status_code, answer.json() if answer.content else None

    return send


def test_the_models_page_offers_and_saves_its_options(client, ada, ollama):
    client.force_login(ada)
    model = ollama.models.get()
    address = reverse("connection-model", args=[ollama.pk, model.pk])

    assert "Settings of Ollama for this model" in client.get(address).text
    response = client.post(address, {"options-num_ctx": "8192", "capabilities": ["vision", "tools"], "context": "9000"})

    assert response.status_code == 302, response.text
    model.refresh_from_db()
    assert (model.options, model.capabilities, model.context) == ({"num_ctx": 8192}, ["vision", "tools"], 9000)
    assert 'value="8192"' in client.get(address).text
    assert AuditEvent.objects.filter(action="model.changed").exists()


def test_a_bad_option_comes_back_on_the_models_page(client, ada, ollama):
    client.force_login(ada)
    model = ollama.models.get()

    response = client.post(reverse("connection-model", args=[ollama.pk, model.pk]), {"options-num_ctx": "1"})

    assert response.status_code == 422
    assert "greater than or equal to 512" in response.text
    assert Model.objects.get().options == {}


def test_models_are_added_by_id_with_options(client, ada, ollama, monkeypatch):
    client.force_login(ada)
    data = {"upstream_ids": "mine:7b", "mode": "embedding", "options-num_ctx": "2048"}

    client.post(reverse("connection-models-add", args=[ollama.pk]), data)

    added = ollama.models.get(upstream_id="mine:7b")
    assert (added.mode, added.options) == ("embedding", {"num_ctx": 2048})


def test_the_api_reads_and_writes_options(api, ada, ollama):
    status, made = api(
        ada, "POST", "/api/models/", {"connection": str(ollama.pk), "upstream_id": "a", "options": {"num_ctx": "4096"}}
    )
    assert (status, made["options"]) == (201, {"num_ctx": 4096})

    status, changed = api(ada, "PATCH", f"/api/models/{made['id']}/", {"options": {}})
    assert (status, changed["options"]) == (200, {})


def test_options_are_not_for_those_who_only_ask(api, ada, alice, analysts, ollama):
    services.grant(ada, analysts, ollama, None)
    model = ollama.models.get()

    assert "options" in api(ada, "GET", f"/api/models/{model.pk}/")[1]
    assert "options" not in api(alice, "GET", f"/api/models/{model.pk}/")[1]


@pytest.mark.parametrize("options", [{"num_ctx": 1}, {"api_base": "https://evil.test"}, {"num_ctx": "x"}, [], "x"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_the_api_refuses_bad_options(api, ada, ollama, method, options):
    path, body = "/api/models/", {"connection": str(ollama.pk), "upstream_id": "a", "options": options}
    if method == "PATCH":
        path, body = f"{path}{ollama.models.get().pk}/", {"options": options}

    status, answer = api(ada, method, path, body)

    assert (status, answer["error"]["param"].partition(".")[0]) == (400, "options")


def test_the_api_refuses_a_kind_of_model_that_the_provider_has_not(api, ada, ollama):
    body = {"connection": str(ollama.pk), "upstream_id": "a", "mode": "rerank"}

    status, answer = api(ada, "POST", "/api/models/", body)

    assert (status, answer["error"]["param"]) == (400, "mode")


def test_the_schema_of_the_options_is_told(api, ada):
    _, told = api(ada, "GET", "/api/providers/ollama/")

    assert "num_ctx" in told["model_options_schema"]["properties"]
    assert (told["group"], told["retired"]) == (registry.providers()["ollama"].group, None)


# --- the catalogue


def test_models_added_by_their_id_take_what_the_catalogue_knows(api, ada):
    connection = connect_openai(ada)

    _, known = api(ada, "POST", "/api/models/", {"connection": str(connection.pk), "upstream_id": "gpt-4o"})
    _, behind = api(
        ada,
        "POST",
        "/api/models/",
        {"connection": str(connection.pk), "upstream_id": "ft:x", "underlying": "gpt-4o", "context": 5},
    )

    assert (known["context"], known["max_output"]) == (128_000, 16_384)
    assert "vision" in known["capabilities"]
    assert (behind["context"], behind["max_output"]) == (5, 16_384)


def test_lists_tell_which_models_are_taken_away(client, ada):
    connection = connect_openai(ada)
    services.add_models(ada, connection, [services.ModelChoice("gpt-4o")])
    client.force_login(ada)

    for address in (reverse("connection-models", args=[connection.pk]), reverse("models")):
        assert "deprecated – ends 2027-01-14, use gpt-5.5" in client.get(address).text


@pytest.mark.django_db(transaction=True)
def test_the_wizard_keeps_the_options_of_typed_models(client, ada, upstream):
    client.force_login(ada)
    new = "/connections/new/openai_compatible/"
    account = {"settings-base_url": upstream.url("compatible"), "settings-api_key": upstream.key}
    account |= {"settings-sign_in": "bearer", "settings-max_tokens_name": "max_tokens", "settings-stream_options": "on"}
    client.post(new, {"name": "Main", "check_every": "60", "slow_after_ms": "2000", "retries": "2", **account})
    typed = {"upstream_ids": "mine", "mode": "completion", "options-drop": "top_k\nseed"}

    client.post(f"{new}models/", typed)
    again = client.get(f"{new}models/").text
    client.post(f"{new}models/", {**typed, "paused": "1"})

    assert "top_k\nseed</textarea>" in again
    model = Model.objects.get()
    assert (model.upstream_id, model.mode, model.options) == ("mine", "completion", {"drop": ["top_k", "seed"]})
