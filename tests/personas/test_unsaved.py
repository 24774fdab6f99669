"""What was written about a persona is never lost without a word, in a real browser."""

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from personas.models import Persona

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = "You enjoy having a good conversation.", "You bake bread."


@pytest.fixture
def url(live_server, persona):
    return f"{live_server.url}/personas/{persona.pk}/"


@pytest.fixture
def write(page, url):
    """Opens the page and types a role prompt, without saving it."""

    def write(text=NEW):
        page.goto(url)
        page.click("#id_role_prompt")
        page.fill("#id_role_prompt", text)
        return page

    return write


def questions_of(page, accept):
    """What the browser asks before it leaves a page."""
    asked = []

    def answer(dialog):
        asked.append(dialog.type)
        dialog.accept() if accept else dialog.dismiss()

    page.on("dialog", answer)
    return asked


def drafts_in(page):
    keys = page.evaluate("Object.keys(localStorage)")
    return [key for key in keys if "draft" in key]


def talked_with(page):
    page.wait_for_url("**/conversations/talk/**")
    return page.text_content(".talk-head")


def test_talk_asks_what_becomes_of_unsaved_changes(write, persona):
    page = write()
    page.click("#talk")
    expect(page.locator("#talk-dialog")).to_be_visible()
    page.click("text=Stay here")
    assert page.input_value("#id_role_prompt") == NEW
    page.click("#talk")
    page.click("#talk-dialog >> text=Save and talk")
    assert "version 2" in talked_with(page)
    assert persona.current.role_prompt == NEW
    page.go_back()
    assert page.input_value("#id_role_prompt") == NEW


def test_talking_without_the_changes_keeps_them(write, url, persona):
    page = write()
    page.click("#talk")
    page.click("text=Talk without them")
    assert "version 1" in talked_with(page)
    page.goto(url)
    expect(page.locator("#draft-offer")).to_contain_text("not saved")
    assert page.input_value("#id_role_prompt") == OLD
    page.click("[data-restore]")
    assert page.input_value("#id_role_prompt") == NEW
    expect(page.locator("#draft-offer")).to_be_hidden()
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == NEW
    page.goto(url)
    expect(page.locator("#draft-offer")).to_be_hidden()


def test_without_changes_no_question_is_asked(page, url):
    page.goto(url)
    page.click("#talk")
    assert "version 1" in talked_with(page)
    assert drafts_in(page) == []


def test_save_and_talk_is_one_press(write, persona):
    page = write()
    page.click("#persona-form >> text=Save and talk")
    assert "version 2" in talked_with(page)
    assert persona.current.role_prompt == NEW
    assert drafts_in(page) == []


@pytest.mark.parametrize("way", ["link", "back", "close"])
def test_the_browser_asks_before_it_leaves(write, live_server, way, page):
    page.goto(live_server.url)
    page = write()
    asked = questions_of(page, accept=False)
    if way == "link":
        page.click("text=Conversations >> nth=0")
    elif way == "back":
        page.evaluate("history.back()")
    else:
        page.close(run_before_unload=True)
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    assert page.input_value("#id_role_prompt") == NEW


def test_what_was_left_is_offered_until_somebody_decides(write, page, url):
    questions_of(write(), accept=True)
    page.goto(url)
    expect(page.locator("#draft-offer")).to_be_visible()
    page.reload()
    page.click("#draft-offer summary")
    expect(page.locator("[data-draft-text]")).to_have_text(NEW)
    page.click("[data-discard]")
    expect(page.locator("#draft-offer")).to_be_hidden()
    page.reload()
    expect(page.locator("#draft-offer")).to_be_hidden()
    assert page.input_value("#id_role_prompt") == OLD


def test_each_window_keeps_its_own_draft(write, page, url):
    questions_of(write("You sing."), accept=True)
    page.goto(url)
    page.fill("#id_role_prompt", "You paint.")
    page.click("[data-restore]")
    assert page.input_value("#id_role_prompt") == "You sing."
    page.click("#draft-offer summary")
    expect(page.locator("[data-draft-text]")).to_have_text("You paint.")


def test_a_draft_of_an_older_version_is_shown_beside_the_newer(
    write, page, url, persona
):
    questions_of(write(), accept=True)
    page.goto("about:blank")
    persona.edit(persona.edits, "Ada", role_prompt="You paint.")
    page.goto(url)
    page.click("[data-restore]")
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector("#changed-meanwhile")
    assert page.input_value("[data-saved]") == "You paint."
    assert page.input_value("#id_role_prompt") == NEW
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == NEW


@pytest.fixture
def sign_in_by_hand(alice, sign_in, page, live_server):
    """In another window of the same browser, on the sign-in page."""
    alice.set_password("correct horse 9")
    alice.save()
    sign_in(page.context, alice)

    def sign_in_by_hand():
        other = page.context.new_page()
        other.goto(live_server.url + "/sign-in/")
        other.fill("#id_username", "alice")
        other.fill("#id_password", "correct horse 9")
        other.click("main .primary")
        other.wait_for_url(live_server.url + "/")
        return other

    return sign_in_by_hand


def sign_out(page):
    """In another window of the same browser."""
    other = page.context.new_page()
    other.goto(page.url)
    other.click("text=Sign out")
    other.wait_for_url("**/sign-in/")
    other.close()


LARGE = ("You sell 😀😀. " * 150).strip()


def test_a_session_that_expired_costs_no_text(write, page, sign_in_by_hand, persona):
    write(LARGE)
    Session.objects.all().delete()
    page.click("[data-submit] >> nth=0")
    expect(page.locator("h1")).to_have_text("You are signed out")
    assert page.input_value("#send-again textarea") == LARGE
    sign_in_by_hand()
    page.click("#send-again .primary")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == LARGE
    assert drafts_in(page) == []


def test_who_signs_in_on_the_page_itself_finds_the_draft(
    write, page, sign_in_by_hand, url
):
    write()
    Session.objects.all().delete()
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector("#send-again")
    sign_in_by_hand()
    page.goto(url)
    page.click("[data-restore]")
    assert page.input_value("#id_role_prompt") == NEW


def test_who_signed_out_and_in_again_elsewhere_saves_as_ever(
    write, page, sign_in_by_hand, persona
):
    write()
    sign_out(page)
    sign_in_by_hand()
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == NEW


def test_without_scripts_the_form_is_offered_again(
    chromium, sign_in_by_hand, live_server, url, persona, page
):
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies(page.context.cookies(live_server.url))
    plain = context.new_page()
    plain.goto(url)
    plain.fill("#id_role_prompt", NEW)
    page.goto(url)
    sign_out(page)
    sign_in_by_hand()
    context.add_cookies(page.context.cookies(live_server.url))
    plain.click("[data-submit] >> nth=0")
    assert plain.text_content("h1") == "Please send that again"
    assert plain.input_value("#send-again textarea") == NEW
    plain.click("#send-again .primary")
    plain.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == NEW
    context.close()


def test_a_script_sends_its_form_again_with_the_new_token(
    page, live_server, settings, alice
):
    page.goto(live_server.url + "/personas/new/")
    page.fill("#id_name", "Nora")
    page.context.clear_cookies(name=settings.CSRF_COOKIE_NAME)
    page.click("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert Persona.objects.of(alice).get().name == "Nora"


def test_a_refused_form_is_still_unsaved(write, page, url):
    write()
    page.fill("#id_name", "")
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector("#id_name_error")
    asked = questions_of(page, accept=True)
    page.click("#id_name")
    page.click("text=Conversations >> nth=0")
    page.wait_for_url("**/conversations/")
    assert asked == ["beforeunload"]


def test_another_account_of_this_browser_is_offered_nothing(
    page, live_server, bob, sign_in
):
    page.goto(live_server.url + "/personas/new/")
    page.click("#id_name")
    page.fill("#id_name", "Nora")
    questions_of(page, accept=True)
    page.reload()
    expect(page.locator("#draft-offer")).to_be_visible()
    sign_in(page.context, bob)
    page.reload()
    expect(page.locator("#draft-offer")).to_be_hidden()


def test_a_new_persona_is_a_draft_until_it_is_made(page, live_server, alice):
    page.goto(live_server.url + "/personas/new/")
    page.click("#id_name")
    page.fill("#id_name", "Nora")
    page.fill("#id_role_prompt", NEW)
    questions_of(page, accept=True)
    page.reload()
    page.click("[data-restore]")
    page.click("[data-submit]")
    page.wait_for_url("**/personas/*-*/")
    assert Persona.objects.of(alice).get().current.role_prompt == NEW
    page.goto(live_server.url + "/personas/new/")
    expect(page.locator("#draft-offer")).to_be_hidden()


def test_a_storage_that_refuses_costs_no_more_than_the_drafts(page, url, persona):
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new"
        " DOMException('no', 'SecurityError'); }})"
    )
    page.goto(url)
    page.fill("#id_role_prompt", NEW)
    page.click("[data-submit] >> nth=0")
    page.wait_for_selector(".notice.success")
    assert persona.current.role_prompt == NEW
