"""The tabs beside the chat in a real Chromium: a picture made and saved, texts compared, documents ranked."""

import base64

import pytest
from playwright.sync_api import Page, expect

from connections.providers.calls import Mode
from tests.upstream.faults import Fault
from tests.upstream.openai import DOT


@pytest.fixture
def site(mesh, connect, alice, analysts, sign_in) -> Page:
    connect(
        "compatible",
        {"flux": Mode.IMAGE, "sdxl": Mode.IMAGE, "embed": Mode.EMBEDDING, "bge": Mode.RERANK},
        group=analysts,
    )
    mesh.refresh()
    return sign_in("alice")


def test_a_picture_is_made_seen_and_saved(site, upstream, check_accessibility):
    site.goto("/playground/")
    site.get_by_role("link", name="Images").click()
    site.wait_for_url("**/playground/tabs/images/")
    site.get_by_label("Prompt", exact=True).fill("A red fish")
    site.get_by_label("Model").select_option("compatible/sdxl")
    expect(site.get_by_label("Prompt", exact=True)).to_have_value("A red fish")

    site.get_by_role("button", name="Make").click()

    picture = site.get_by_role("img", name="A red fish!")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") == 1
    assert upstream.requests[0].json["model"] == "sdxl"
    with site.expect_download() as download:
        site.get_by_role("button", name="Download picture 1").click()
    assert download.value.suggested_filename == "picture-1.png"
    assert download.value.path().read_bytes() == base64.b64decode(DOT)
    site.get_by_text("What the provider was sent").click()
    expect(site.locator("#effective-body")).to_contain_text('"prompt": "A red fish"')
    check_accessibility()


def test_texts_are_compared_and_documents_ranked(site, upstream, check_accessibility):
    site.goto("/playground/tabs/embeddings/")
    site.get_by_label("Texts").fill("red fish\nred fish\nbird")
    site.get_by_role("button", name="Embed").click()
    expect(site.locator(".matrix td[data-near='5']")).to_have_count(5)
    check_accessibility()

    site.get_by_role("link", name="Rerank").click()
    site.get_by_label("Query").fill("red fish")
    site.get_by_label("Documents").fill("a bird\na red fish")
    site.get_by_role("button", name="Rank").click()
    expect(site.locator(".ranking li").first).to_contain_text("a red fish")
    check_accessibility()


def test_a_mistake_and_a_failure_are_told(site, upstream, check_accessibility):
    site.goto("/playground/tabs/images/")
    site.get_by_role("button", name="Make").click()
    expect(site.locator(".field-error")).to_contain_text("Say what the picture shows.")

    upstream.always(Fault.status(500))
    site.get_by_label("Prompt", exact=True).fill("A red fish")
    site.get_by_role("button", name="Make").click()
    expect(site.locator("#outcome .alarm")).to_be_visible()
    check_accessibility()
