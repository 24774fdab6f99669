"""What scripts/up takes for an answer of the site."""

import asyncio
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from personaplex_site.up.launch import Launch
from tests.serving import serve_in_thread


@pytest.fixture
def site():
    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(type(self).status)
            self.send_header("Location", "https://127.0.0.1:1/sign-in/")
            self.end_headers()
            if type(self).status == 200:
                self.wfile.write(b"a page")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    serve_in_thread(server)
    Handler.address = f"http://127.0.0.1:{server.server_port}"
    yield Handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "answers"), [(200, True), (301, True), (500, False)]
)
def test_a_page_or_the_way_to_https(site, status, answers):
    """With HTTPS=True the sign-in page is a redirect to where only a proxy listens."""
    site.status = status
    launch = SimpleNamespace(options=SimpleNamespace(address=site.address))
    assert asyncio.run(Launch._site_answers(launch)) is answers
