"""Adding, finding and testing connections as one does it: by mouse and keyboard, with a mistake on the way."""

from playwright.sync_api import expect

from connections.models import Connection


def test_a_mistake_in_the_wizard_costs_nothing(mesh, upstream, ada, sign_in):
    site = sign_in("ada")
    site.goto("/connections/new/openai_compatible/")
    site.get_by_label("Connection name").fill("Rack")
    site.get_by_label("Base URL").fill("https://10.0.0.1/v1")
    secret = site.locator("input[type=password]").first
    secret.fill(upstream.key)

    site.get_by_role("button", name="Test").click()
    expect(site.locator(".field-error")).to_contain_text("not a public one")
    expect(site.get_by_label("Base URL")).to_be_focused()
    expect(secret).to_have_value("")
    expect(secret).to_have_attribute("placeholder", "•••• kept")
    assert upstream.key not in site.content()

    site.get_by_label("Base URL").fill(upstream.url("compatible"))
    expect(site.locator(".field-error")).to_have_count(0)
    site.get_by_role("button", name="Test").click()
    expect(site.locator(".stages li")).to_have_count(3)
    expect(site.locator(".stages li[data-stage=ok]")).to_have_count(3)


def test_a_sentence_about_several_fields_is_where_one_goes_on(mesh, ada, sign_in):
    site = sign_in("ada")
    site.goto("/connections/new/snowflake/")
    site.get_by_label("Account identifier").fill("myorg-account123")

    site.get_by_role("button", name="Continue").click()

    sentence = site.get_by_text("This sign-in needs an access token.")
    expect(site.locator(".errorlist", has=sentence)).to_be_focused()


def test_the_models_offered_are_filtered_while_typing(mesh, upstream, ada, sign_in):
    site = sign_in("ada")
    site.goto("/connections/new/openai_compatible/")
    site.get_by_label("Base URL").fill(upstream.url("compatible"))
    site.locator("input[type=password]").first.fill(upstream.key)
    site.get_by_role("button", name="Continue").click()
    offers = site.locator(".offer:visible")
    everything = offers.count()

    site.get_by_label("Filter models").fill("embed")

    assert 0 < offers.count() < everything
    site.get_by_label("Filter models").fill("")
    assert offers.count() == everything


def test_the_list_is_filtered_while_typing_and_the_address_tells(mesh, connect, ada, sign_in):
    for name in ("first", "second"):
        connect("openai", name=name)
    site = sign_in("ada")
    site.goto("/connections/")
    field = site.get_by_label("Filter connections")

    field.press_sequentially("sec")

    expect(site.locator("tbody tr")).to_have_count(1)
    expect(field).to_be_focused()
    site.wait_for_url("**/connections/?q=sec")
    site.reload()
    expect(site.locator("tbody tr")).to_contain_text("second")


def test_the_rows_own_button_checks_now(mesh, connect, ada, sign_in):
    connection = connect("openai")
    site = sign_in("ada")
    site.goto("/connections/")
    row = site.locator(f"#connection-{connection.pk}")
    expect(row.locator(".state")).to_have_text("Unknown")

    row.get_by_role("button", name="Test").click()

    expect(row.locator(".state")).to_have_text("Healthy")
    expect(row.locator(".strip rect[data-state=healthy]")).to_have_count(1)


def test_pages_that_change_connections_are_accessible(mesh, connect, ada, sign_in, check_accessibility):
    connection = connect("openai")
    model = connection.models.get()
    site = sign_in("ada")
    for path in ("/connections/new/openai/", f"/connections/{connection.pk}/delete/"):
        site.goto(path)
        check_accessibility()
    for path in ("models/add/", f"models/{model.pk}/"):
        site.goto(f"/connections/{connection.pk}/{path}")
        check_accessibility()


def test_deleting_wants_the_name(mesh, connect, ada, sign_in):
    connection = connect("openai", name="Old rack")
    site = sign_in("ada")
    site.goto(f"/connections/{connection.pk}/")
    site.get_by_role("link", name="Delete").click()

    site.get_by_role("button", name="Delete Old rack").click()
    assert Connection.objects.exists()
    site.get_by_label("Type the connection's name to confirm").fill("Old rack")
    site.get_by_role("button", name="Delete Old rack").click()

    expect(site.locator("#messages")).to_contain_text("Old rack is deleted.")
    assert not Connection.objects.exists()


def test_a_provider_is_found_while_typing(mesh, ada, sign_in, check_accessibility):
    site = sign_in("ada")
    site.goto("/connections/new/")
    tiles, field = site.locator(".tile:visible"), site.get_by_label("Filter providers")
    everything = tiles.count()
    check_accessibility()

    field.press_sequentially("anthropic")
    assert 0 < tiles.count() < everything
    field.fill("no such thing")
    expect(site.locator(".gallery-none")).to_be_visible()
    assert site.locator(".shelf:visible").count() == 0

    field.fill("claude models from")
    field.press("Tab")
    site.keyboard.press("Enter")
    site.wait_for_url("**/connections/new/anthropic/")
    expect(site.locator(".tile[aria-current]")).to_contain_text("Anthropic")
