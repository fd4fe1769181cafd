"""The playground in a real Chromium: ask, watch, stop, edit, reload."""

import base64
import re

import pytest
from playwright.sync_api import Page, expect

from connections.models import Model
from playground.models import Run
from tests.conftest import PASSWORD
from tests.upstream.faults import Fault

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M/wHwAEAQH/mqVuqwAAAABJRU5ErkJggg=="
ANSWER = "Use `DISTINCT ON`:\n\n```sql\nSELECT DISTINCT ON (customer_id) * FROM orders;\n```\n\nThat is all."


@pytest.fixture
def chat(mesh, connect, alice, analysts, sign_in) -> Page:
    connect("openai", group=analysts)
    connect("llamacpp", group=analysts)
    connect("anthropic")
    mesh.refresh()
    site = sign_in("alice")
    site.goto("/playground/?model=openai/gpt-4o-mini")
    return site


def ask(site: Page, text: str) -> None:
    site.get_by_label("Your message").fill(text)
    site.get_by_label("Your message").press("Control+Enter")


def test_an_answer_streams_in_and_survives_a_reload(chat, upstream, check_accessibility):
    upstream.always(Fault.answer(text=ANSWER, delay=0.1))
    ask(chat, "Newest order per customer?")

    expect(chat.locator(".run[aria-busy=true] .streaming")).to_contain_text("Use `DISTINCT")
    expect(chat.get_by_role("button", name="Stop")).to_be_visible()
    expect(chat.locator(".answer pre .k").first).to_have_text("SELECT")
    expect(chat.locator(".metrics")).to_contain_text("first token")
    expect(chat.get_by_role("button", name="Stop")).to_be_hidden()
    expect(chat.get_by_label("Your message")).to_be_focused()
    expect(chat.get_by_label("Your message")).to_have_value("")
    assert re.search(r"/playground/[0-9a-f-]{36}/$", chat.url)
    assert chat.title() == "Newest order per customer? · LLM Mesh"
    check_accessibility()

    chat.reload()

    expect(chat.locator(".answer")).to_contain_text("That is all.")
    expect(chat.locator("#crumb")).to_have_text("Newest order per customer?")


def test_escape_stops_and_keeps_what_came(chat, upstream):
    upstream.always(Fault.answer(chunks=200, delay=0.1))
    ask(chat, "A long story")
    expect(chat.locator(".streaming")).to_contain_text("word3")

    chat.keyboard.press("Escape")

    expect(chat.locator(".run .badge")).to_have_text("stopped")
    expect(chat.locator(".answer")).to_contain_text("word3")
    assert upstream.requests[0].disconnected.wait(20)
    expect(chat.get_by_role("button", name="Send")).to_be_enabled()


def test_a_reload_in_the_middle_goes_on_to_the_end(chat, upstream):
    upstream.always(Fault.answer(chunks=25, delay=0.15))
    ask(chat, "A story")
    expect(chat.locator(".streaming")).to_contain_text("word3")

    chat.reload()

    expect(chat.locator(".answer")).to_contain_text("word3")
    expect(chat.locator(".answer:not(.streaming)")).to_contain_text("word24")
    expect(chat.get_by_role("button", name="Stop")).to_be_hidden()


def test_edit_regenerate_and_the_second_question(chat, upstream):
    upstream.script(Fault.answer(text="First."), Fault.answer(text="Second."), Fault.answer(text="Third."))
    ask(chat, "One?")
    expect(chat.locator(".answer")).to_have_text("First.")

    chat.get_by_label("Regenerate this answer").click()
    expect(chat.locator(".run").last.locator(".answer")).to_have_text("Second.")
    expect(chat.get_by_text("1 earlier answer")).to_be_visible()

    chat.get_by_label("Edit this message").click()
    expect(chat.get_by_label("Your message")).to_have_value("One?")
    expect(chat.get_by_label("Your message")).to_be_focused()
    ask(chat, "Uno?")
    expect(chat.locator(".run").last.locator(".answer")).to_have_text("Third.")
    expect(chat.get_by_text("Kept aside by your edit: 1 message")).to_be_visible()
    expect(chat.get_by_text("Editing an earlier message")).to_be_hidden()

    ask(chat, "And then?")
    expect(chat.locator(".turn")).to_have_count(2)
    expect(chat.locator(".run").last.locator(".answer")).to_have_text("And then?")


def test_the_picker_is_searched_and_used_by_keyboard(chat):
    chat.locator(".picker summary").focus()
    chat.keyboard.press("Enter")
    chat.keyboard.press("Tab")
    chat.keyboard.type("smol")
    expect(chat.get_by_role("radio", name="gpt-4o-mini")).to_be_hidden()
    chat.get_by_role("radio", name="smollm2").focus()
    chat.keyboard.press("Space")

    expect(chat.locator(".picker-current")).to_contain_text("smollm2")
    chat.get_by_text("More parameters").click()
    expect(chat.get_by_label("Top K")).to_be_visible()


def test_a_model_that_is_not_granted_is_listed_with_the_reason(chat, check_accessibility):
    chat.locator(".picker summary").click()

    other = chat.get_by_role("radio", name="claude-sonnet-5-5")
    expect(other).to_be_disabled()
    expect(chat.locator(".picker-row", has=other)).to_contain_text("not granted to your groups")
    check_accessibility()


def test_parameters_are_sent_and_a_wrong_one_is_told(chat, upstream):
    chat.get_by_role("spinbutton", name="Temperature").fill("0.4")
    expect(chat.get_by_label("Temperature, slider")).to_have_value("0.4")
    ask(chat, "Hi")
    expect(chat.locator(".metrics")).to_be_visible()
    assert upstream.requests[0].json["temperature"] == 0.4

    chat.get_by_label("Response format").select_option("json_schema")
    chat.get_by_role("textbox", name="JSON schema").fill("{")
    ask(chat, "Hi again")
    expect(chat.locator("#refusal")).to_contain_text("This is not JSON")
    expect(chat.get_by_label("Your message")).to_have_value("Hi again")


def test_code_and_effective_request_open_in_a_dialog(chat, check_accessibility):
    ask(chat, "Hi")
    chat.get_by_label("View the code of this call").click()
    expect(chat.locator("#curl")).to_contain_text('"content": "Hi"')
    check_accessibility()
    chat.keyboard.press("Escape")
    expect(chat.get_by_label("View the code of this call")).to_be_focused()

    chat.get_by_label("Show the effective request").click()
    expect(chat.locator("#effective-body")).to_contain_text('"model": "gpt-4o-mini"')
    chat.keyboard.press("Escape")

    chat.get_by_label("Your message").fill("A draft")
    chat.get_by_role("button", name="View code", exact=True).click()
    expect(chat.locator("#curl")).to_contain_text('"content": "A draft"')


def test_answers_and_code_are_copied(chat, upstream):
    upstream.always(Fault.answer(text=ANSWER))
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(chat, "Hi")

    chat.get_by_role("button", name="Copy the code").click()
    expect(chat.locator(".toasts")).to_contain_text("Copied.")
    assert chat.evaluate("navigator.clipboard.readText()") == "SELECT DISTINCT ON (customer_id) * FROM orders;\n"
    chat.get_by_role("button", name="Copy the answer").click()
    chat.wait_for_function("async text => await navigator.clipboard.readText() === text", arg=ANSWER)


def test_without_javascript_it_still_answers(mesh, connect, alice, analysts, browser):
    connect("openai", group=analysts)
    mesh.refresh()
    site = browser.new_context(base_url=mesh.url, java_script_enabled=False).new_page()
    site.goto("/playground/")
    site.locator("[name=login]").fill("alice")
    site.locator("[name=password]").fill(PASSWORD)
    site.get_by_role("button", name="Sign in").click()

    site.get_by_label("Your message").fill("Say **this**")
    site.get_by_role("button", name="Send").click()
    expect(site.locator(".answer strong")).to_have_text("this")

    site.get_by_label("Edit this message").click()
    site.get_by_label("Your message").fill("Say *that*")
    site.get_by_role("button", name="Send").click()
    expect(site.locator(".run").last.locator(".answer em")).to_have_text("that")

    site.get_by_label("Regenerate this answer").last.click()
    expect(site.get_by_text("1 earlier answer")).to_be_visible()
    site.context.close()


def test_the_list_of_conversations(chat, check_accessibility):
    ask(chat, "Hi")
    expect(chat.locator(".metrics")).to_be_visible()

    chat.get_by_role("link", name="All conversations").last.click()

    expect(chat.get_by_role("link", name="Hi", exact=True)).to_be_visible()
    check_accessibility()
    chat.get_by_label("Rename or delete Hi").click()
    check_accessibility()


def test_rename_and_delete(chat):
    ask(chat, "Hi")
    expect(chat.locator(".metrics")).to_be_visible()
    chat.get_by_label("More about this conversation").click()
    chat.get_by_label("Name").fill("Greetings")
    chat.get_by_role("button", name="Rename").click()
    expect(chat.locator("#crumb")).to_have_text("Greetings")

    chat.get_by_label("More about this conversation").click()
    chat.get_by_role("button", name="Delete…").click()
    chat.get_by_role("button", name="Delete", exact=True).click()
    chat.wait_for_url("**/playground/")
    assert not Run.objects.exists()


def test_hostile_output_stays_text(chat, upstream):
    hostile = '<script>document.title = "owned"</script> <img src=x onerror=alert(1)> ![x](https://elsewhere.example/y)'
    upstream.always(Fault.answer(text=f'{hostile} <hx-partial hx-target="#main">gone</hx-partial>', delay=0.05))
    ask(chat, hostile)

    expect(chat.locator(".metrics")).to_be_visible()
    assert chat.locator(".turn script, .answer img").count() == 0
    expect(chat.locator(".answer")).to_contain_text("<hx-partial")
    assert chat.title() != "owned"


def test_a_failure_stands_in_the_lane(chat, upstream, check_accessibility):
    upstream.always(Fault.status(401))
    ask(chat, "Hi")

    expect(chat.locator(".run .alarm")).to_contain_text("An admin has to mend this connection.")
    check_accessibility()


def test_a_picture_is_sent_to_a_model_that_sees(chat, upstream, mesh):
    Model.objects.filter(upstream_id="gpt-4o-mini").update(capabilities=["vision"])
    mesh.refresh()
    chat.reload()
    picture = base64.b64decode(DOT)
    chat.locator("input[type=file]").set_input_files({"name": "dot.png", "mimeType": "image/png", "buffer": picture})
    expect(chat.locator("[data-file-name]")).to_have_text("dot.png")
    ask(chat, "What is this?")

    expect(chat.locator(".metrics")).to_be_visible()
    expect(chat.locator(".turn img.picture")).to_be_visible()
    content = upstream.requests[0].json["messages"][-1]["content"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_an_ended_session_leads_to_sign_in_and_back(chat):
    chat.context.clear_cookies()
    ask(chat, "Hi")

    chat.wait_for_url("**/accounts/login/**")
    chat.locator("[name=login]").fill("alice")
    chat.locator("[name=password]").fill(PASSWORD)
    chat.get_by_role("button", name="Sign in").click()
    chat.wait_for_url("**/playground/**")
