"""The whole product on a fresh data folder, and Chromium with a file as microphone."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import sync_playwright

from tests.chromium import AUTOPLAY, launch
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import Site
from tests.up.product import RunningProduct, open_folder


def pytest_collection_modifyitems(items):
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def place():
    with open_folder("e2e") as place:
        yield place


@dataclass(frozen=True)
class ElsewhereProduct:
    """One that somebody else started; scripts/check-bare does so."""

    address: str
    data: Path


@pytest.fixture(scope="session")
def product(place):
    if address := os.environ.get("E2E_ADDRESS"):
        yield ElsewhereProduct(address, Path(os.environ["E2E_DATA"]))
        return
    product = RunningProduct(place / "data", WORKER_SLOTS="2").start()
    yield product
    product.stop()


@pytest.fixture(scope="session")
def password(product):
    """Of the first account, read as a person would."""
    text = (product.data / "first-account.txt").read_text()
    return tuple(re.findall(r"(?:user name|password): (.+)", text))


@pytest.fixture(scope="session")
def microphone(place):
    return sounds.microphone(place)


@pytest.fixture(scope="module")  # not while processes are killed: it eats a core
def chromium(microphone):
    with sync_playwright() as playwright:
        browser = launch(playwright, microphone, AUTOPLAY)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """Whatever the browser complains of is in ``page.complaints``."""
    context = chromium.new_context(permissions=["microphone"])
    page = context.new_page()
    page.complaints = complaints = []
    page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "response",
        lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"),
    )
    yield page
    context.close()


@pytest.fixture
def signed_in(page, product, password):
    page.goto(product.address)
    page.get_by_label("User name").fill(password[0])
    page.get_by_label("Password").fill(password[1])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(product.address + "/")
    return page


@pytest.fixture(scope="session")
def site(product, password):
    return Site(product.address, *password)


@pytest.fixture
def rows(product):
    """Asks the product's own database."""
    with psycopg.connect(
        product.environment_of_site()["DATABASE_URL"], autocommit=True
    ) as connection:

        def ask(query, *values):
            return connection.execute(query, values).fetchall()

        yield ask


@pytest.fixture
def report(capsys):
    """Shows a test's figures, as one line of JSON, whatever pytest captures."""

    def show(name, figures):
        with capsys.disabled():
            sys.stdout.write("\n" + json.dumps({name: figures}) + "\n")

    return show
