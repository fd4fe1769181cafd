"""Writing a query template: the request changes while one types, a failing sample says where, saving proves it."""

import pytest
from playwright.sync_api import expect

from connections.models import Model
from tests.upstream import sigv4

TEMPLATE = {
    "request": {"inputs": {"$": "prompt"}, "parameters": {"max_new_tokens": {"$": "max_tokens"}}},
    "answer": {"text": "[0].generated_text"},
    "stream": {"text": "token.text", "end": "[DONE]"},
    "samples": [
        {"name": "greeting", "kind": "answer", "given": [{"generated_text": "Hey"}], "expected": "Hey"},
        {
            "name": "a short call",
            "kind": "request",
            "given": {"prompt": "Hi", "max_tokens": 5},
            "expected": {"inputs": "Hi", "parameters": {"max_new_tokens": 5}},
        },
    ],
}


@pytest.fixture
def model(mesh, connect, upstream):
    connection = connect(
        "sagemaker",
        {"own-1": "chat"},
        kind="sagemaker",
        settings={"region": "us-east-1", "endpoint_url": upstream.url("sagemaker")},
        secrets={"access_key_id": sigv4.KEY_ID, "secret_access_key": sigv4.SECRET},
        options={"shape": "own-template", "template": TEMPLATE},
    )
    return connection.models.get()


@pytest.fixture
def site(model, ada, sign_in):
    site = sign_in("ada")
    site.goto(f"/connections/{model.connection_id}/models/{model.pk}/")
    site.get_by_role("link", name="Query template").click()
    return site


def test_a_template_is_written_with_the_request_in_view(site, model):
    preview = site.locator("#preview-body")
    expect(preview).to_contain_text('"inputs": "Say \\"hello\\" in {{three}} words."')

    site.get_by_label("Request", exact=True).fill('{"question": {"$": "promt"}}')
    expect(site.locator("#preview .errorlist")).to_contain_text("There is no placeholder 'promt'")
    expect(preview).to_have_count(0)
    site.get_by_label("Request", exact=True).fill('{"question": {"$": "prompt"}}')
    expect(preview).to_contain_text('"question": "Say')
    expect(site.locator("#outcome-1")).to_contain_text("Fails. Expected")
    expect(site.get_by_label("Request", exact=True)).to_be_focused()

    site.get_by_role("button", name="Save").click()
    expect(site.locator(".errorlist").first).to_contain_text("samples fail: a short call")
    assert "question" not in str(Model.objects.get(pk=model.pk).options)

    group = site.get_by_role("group", name="Sample a short call")
    group.get_by_label("Expected").fill('{"question": "Hi"}')
    expect(site.locator("#outcome-1")).to_contain_text("Passes.")
    site.get_by_role("button", name="Save").click()
    expect(site.locator(".note")).to_contain_text("is saved")
    assert Model.objects.get(pk=model.pk).options["template"]["request"] == {"question": {"$": "prompt"}}


def test_a_sample_is_added_and_removed(site):
    blank = site.get_by_role("group", name="New sample")
    blank.get_by_label("Name").fill("new one")
    blank.get_by_label("Kind").select_option("error")
    blank.get_by_label("Given").fill('{"error": "no memory"}')
    blank.get_by_label("Expected").fill("no memory")
    expect(site.locator("#outcome-2")).to_contain_text("Passes.")

    site.get_by_role("button", name="Try").click()
    expect(site.get_by_role("group", name="New sample")).to_have_count(1)
    site.get_by_role("group", name="Sample new one").get_by_label("Remove this sample").check()
    site.get_by_role("button", name="Save").click()

    expect(site.locator(".note")).to_contain_text("is saved")


def test_the_page_is_accessible_and_shows_what_counts(site, check_accessibility):
    site.get_by_text("All placeholders").click()
    check_accessibility()

    expect(site.get_by_label("Framing")).to_be_visible()
    site.get_by_label("The endpoint streams").uncheck()
    expect(site.get_by_label("Framing")).to_be_hidden()
