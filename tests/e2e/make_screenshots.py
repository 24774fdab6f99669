"""Pictures of every page for docs/img, of the whole product as it runs.

    scripts/test tests/e2e/make_screenshots.py

Not collected with the tests: its name says so.
"""

from pathlib import Path

from tests.e2e import sounds
from tests.e2e.test_a_person_talks import create_persona

PICTURES = Path(__file__).resolve().parent.parent.parent / "docs" / "img"
DESKTOP, PHONE = {"width": 1100, "height": 760}, {"width": 390, "height": 844}
ADMIN = {
    "admin-workers": "/admin/inference/worker/",
    "admin-hardware": "/admin/inference/hardwaresample/",
    "admin-conversations": "/admin/conversations/conversation/",
    "admin-personas": "/admin/personas/persona/",
    "admin-voices": "/admin/personas/voice/",
}
ROLE = "Your name is Anna. You work for City Library."


def take(page, name, *, full=True):
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(400)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=full)


def test_pictures(page, product, password, place):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size(DESKTOP)
    page.goto(product.address)
    take(page, "sign-in")
    page.get_by_label("User name").fill(password[0])
    page.get_by_label("Password").fill(password[1])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(product.address + "/")
    take(page, "personas-empty")

    page.goto(product.address + "/personas/new/")
    take(page, "persona-new")
    create_persona(page, product, "Tom", "You sell tickets.", sounds.RECORDING)
    anna = create_persona(page, product, "Anna", ROLE, sounds.espeak_sample(place))
    take(page, "persona-edit")
    page.goto(product.address)
    take(page, "personas")

    page.goto(anna)
    page.get_by_role("link", name="Talk", exact=True).click()
    page.wait_for_url("**/talk/**")
    take(page, "talk-before")
    for panel in ("samples-panel", "sound-panel", "sampling-panel"):
        page.locator(f"#{panel} summary").click()
    take(page, "talk-options")
    for panel in ("samples-panel", "sound-panel", "sampling-panel"):
        page.locator(f"#{panel} summary").click()
    page.locator("#start").click()
    page.locator("#talk[data-phase=live]").wait_for(timeout=30_000)
    page.wait_for_timeout(25_000)
    take(page, "talk-live", full=False)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    take(page, "talk-live-phone-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)
    page.get_by_role("button", name="Back 5 seconds").click()
    page.locator(".mark").wait_for(timeout=20_000)
    page.wait_for_timeout(6_000)
    take(page, "talk-back", full=False)
    page.locator("#end").click()
    page.locator("#kept").wait_for(timeout=20_000)
    take(page, "talk-ended")
    page.locator("#kept-link").click()
    page.locator("#latency").wait_for()
    page.wait_for_timeout(6_000)
    page.reload()
    page.wait_for_timeout(1_500)
    take(page, "review")
    page.goto(product.address + "/conversations/")
    take(page, "conversations")
    for name, address in ADMIN.items():
        page.goto(product.address + address)
        take(page, name)
    page.goto(product.address + "/admin/inference/worker/")
    page.locator("a[href$='/change/']").first.click()
    page.wait_for_load_state()
    take(page, "admin-worker")
