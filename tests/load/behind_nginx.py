"""Two people behind nginx, with docs/nginx.conf: each has a fate of their own.

    python -m tests.load.behind_nginx --server daphne
    python -m tests.load.behind_nginx --server uvicorn

One tries ten wrong passwords for a name from 127.0.0.2, and claims by X-Forwarded-For
to be the other, who has the right one and comes from 127.0.0.3. Then sockets are opened
from pages of several origins, and a page is asked for without TLS. Prints one line of
JSON; ends with 1 when somebody's fate is not their own. Needs nginx and openssl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from personaplex_site.up.options import SERVERS
from personaplex_site.up.product import BASE_DIR, free_port
from tests.load.running import RunningStack, running_stack

NAME = "talk.example.org"
GUESSER, OWNER = "127.0.0.2", "127.0.0.3"
TRIES = 10  # LOGIN_FAILURE_LIMIT
START_SECONDS = 30
EXPECTED = {
    "guesser": [200] * TRIES,
    "guesser_with_the_right_password": 429,
    "owner": 302,
    "owner_cookie_is_secure": True,
    "owner_hsts": "max-age=2592000",
    "socket_of_this_site": 101,
    "socket_of_http": 403,
    "socket_of_another_port": 403,
    "socket_of_another_site": 403,
    "without_tls": 301,
    "past_the_proxy": 301,
    "past_the_proxy_claiming_https": 301,
    "healthz_past_the_proxy": 200,
}


class Proxy:
    """nginx with the documented file, on ports of its own."""

    def __init__(self, folder: Path, site: str) -> None:
        self.folder, self.tls, self.plain = folder, free_port(), free_port()
        text = (BASE_DIR / "docs" / "nginx.conf").read_text()
        for old, new in {
            r"listen \[::\].*": "",
            r"listen 80;": f"listen 127.0.0.1:{self.plain};",
            r"listen 443 ": f"listen 127.0.0.1:{self.tls} ",
            r"server 127.0.0.1:8000;": f"server {site.partition('://')[2]};",
            r"/etc/letsencrypt/live/[^/]*/fullchain.pem": f"{folder}/cert.pem",
            r"/etc/letsencrypt/live/[^/]*/privkey.pem": f"{folder}/key.pem",
        }.items():
            text, count = re.subn(old, new, text)
            assert count, f"docs/nginx.conf has no {old}"
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off;\n{paths}{text}}}\n"
        )
        self._certify()

    def _certify(self) -> None:
        names = ("-keyout", "key.pem", "-out", "cert.pem", "-subj", f"/CN={NAME}")
        made = (
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
        )
        subprocess.run(
            [*made, *names], cwd=self.folder, check=True, capture_output=True
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        files = ["-p", str(self.folder), "-c", "nginx.conf"]
        with (self.folder / "nginx.log").open("w") as log:
            process = subprocess.Popen([nginx, *files], stderr=log)
        try:
            until = time.monotonic() + START_SECONDS
            while self.visit("127.0.0.1", "GET", "/healthz") is None:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((self.folder / "nginx.log").read_text())
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(START_SECONDS)

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.tls}"

    def client(self, address: str) -> httpx.Client:
        """A browser's part, at an address of its own."""
        # The proxy is ours, and its certificate a minute old.
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.tls}",
            headers={"Host": f"{NAME}:{self.tls}", "Origin": self.origin},
            transport=transport,
            timeout=30,
        )

    def visit(self, address: str, method: str, path: str) -> httpx.Response | None:
        with self.client(address) as client:
            try:
                return client.request(method, path)
            except httpx.TransportError:
                return None


def sign_in(proxy: Proxy, address: str, password: str, **claims: str) -> httpx.Response:
    with proxy.client(address) as client:
        token = client.get("/sign-in/").headers["set-cookie"]
        # By hand: the cookie is for the name that we only pretend to have asked.
        cookie = token.partition(";")[0]
        value = cookie.partition("=")[2]
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": value}
        headers = {"Cookie": cookie, "Referer": f"{proxy.origin}/sign-in/", **claims}
        return client.post("/sign-in/", data=form, headers=headers)


def open_socket(proxy: Proxy, origin: str) -> int:
    headers = {
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    path = "/ws/personas/00000000-0000-0000-0000-000000000000/talk/"
    with (
        proxy.client(OWNER) as client,
        client.stream("GET", path, headers=headers) as response,
    ):
        return response.status_code


def straight(address: str, path: str, **headers: str) -> int:
    return httpx.get(address + path, headers=headers, timeout=30).status_code


def fates(stack: RunningStack, proxy: Proxy) -> dict[str, Any]:
    account = (stack.data / "first-account.txt").read_text()
    [password] = re.findall("password: (.+)", account)
    lie = {"X-Forwarded-For": OWNER}
    tries = [sign_in(proxy, GUESSER, "wrong", **lie).status_code for _ in range(TRIES)]
    held_up = sign_in(proxy, GUESSER, password, **lie)
    owner = sign_in(proxy, OWNER, password)
    cookies = owner.headers.get_list("set-cookie")
    site, plain = stack.urls[0], f"http://127.0.0.1:{proxy.plain}"
    return {
        "guesser": tries,
        "guesser_with_the_right_password": held_up.status_code,
        "owner": owner.status_code,
        "owner_cookie_is_secure": all("Secure" in cookie for cookie in cookies),
        "owner_hsts": owner.headers.get("strict-transport-security"),
        "socket_of_this_site": open_socket(proxy, proxy.origin),
        "socket_of_http": open_socket(proxy, proxy.origin.replace("https", "http")),
        "socket_of_another_port": open_socket(proxy, f"https://{NAME}"),
        "socket_of_another_site": open_socket(proxy, "https://evil.example"),
        "without_tls": straight(plain, "/sign-in/"),
        "past_the_proxy": straight(site, "/sign-in/"),
        # From an address that no setting trusts.
        "past_the_proxy_claiming_https": claiming(site),
        "healthz_past_the_proxy": straight(site, "/healthz"),
    }


def claiming(site: str) -> int:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": OWNER}
    transport = httpx.HTTPTransport(local_address=GUESSER)
    with httpx.Client(transport=transport, timeout=30) as client:
        return client.get(f"{site}/sign-in/", headers=headers).status_code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=SERVERS, default=SERVERS[0])
    given = parser.parse_args()
    settings = {
        "HTTPS": "True",
        "TRUSTED_PROXIES": "127.0.0.1",
        "ALLOWED_HOSTS": NAME,
        "LOGIN_FAILURE_LIMIT": str(TRIES),
    }
    arguments = ["--server", given.server, "--workers", "0", "--no-celery"]
    with (
        tempfile.TemporaryDirectory(prefix="personaplex-nginx-") as folder,
        running_stack(*arguments, **settings) as stack,
    ):
        Path(folder).chmod(0o711)  # nginx's workers run as another account
        proxy = Proxy(Path(folder), stack.urls[0])
        with proxy.running():
            found = fates(stack, proxy)
    wrong = [name for name, fate in found.items() if fate != EXPECTED[name]]
    line = json.dumps({"server": given.server, **found, "wrong": wrong})
    sys.stdout.write(line + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
