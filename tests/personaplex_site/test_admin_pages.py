"""What the administrators' pages say of themselves."""

import pytest

from tests.factories import UserFactory, WorkerFactory


@pytest.fixture
def root(client, db):
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def test_they_have_the_product_s_name_the_zone_and_a_way_back(root, settings):
    page = root.get("/admin/").text
    assert "| PersonaPlex admin</title>" in page
    assert "Django" not in page
    assert "Times in UTC" in page
    assert '<a href="/" class="text-sm' in page


def test_an_empty_list_offers_only_what_one_may_do(root):
    for path, name in (("inference/worker", "workers"), ("auth/group", "groups")):
        page = root.get(f"/admin/{path}/").text
        assert f"No {name} yet" in page
        assert "yielded" not in page
        assert ("Add group" in page) == (name == "groups")
    WorkerFactory()
    page = root.get("/admin/inference/worker/?alive=no").text
    assert "No workers match this search and these filters." in page


def test_signing_out_there_is_signing_out_of_the_site(root):
    assert root.post("/admin/logout/").headers["Location"] == "/sign-in/"
    assert root.post("/admin/logout/").headers["Location"] == "/sign-in/"
