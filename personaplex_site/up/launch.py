"""The order in which the product starts, and what it says when it answers."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request

from personaplex_site.up.console import Console
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.postgres import READY_SECONDS as POSTGRES_SECONDS
from personaplex_site.up.postgres import EmbeddedPostgres
from personaplex_site.up.preflight import given_settings
from personaplex_site.up.product import (
    LOOPBACK,
    Options,
    Product,
    allowed_hosts,
    fetch_model,
    free_port,
    site_environment,
)
from personaplex_site.up.supervisor import LOOP_DEATHS, Kept, Supervisor
from personaplex_site.up.valkey import READY_SECONDS as VALKEY_SECONDS
from personaplex_site.up.valkey import EmbeddedValkey

SITE_SECONDS = 60.0
WORKER_SECONDS = 60.0
POLL_SECONDS = 0.3
LOADING = "still loading the model"  # of a worker's /readyz, in its first minutes


class Launch:
    def __init__(self, options: Options, folder: DataFolder, console: Console) -> None:
        self.options, self.folder, self.console = options, folder, console
        self.supervisor = Supervisor(console)
        self.begun = time.monotonic()

    async def run(self) -> None:
        """Start everything in order; returns when a person can talk."""
        await self._fetch_model()
        secrets = self.folder.secrets()
        site = site_environment(self.options, secrets)
        site |= await self._databases(secrets)
        self.folder.write_environment({**given_settings(), **site})
        product, keep = Product(self.options, self.folder, site), self.supervisor.keep

        worker = await keep(product.worker())  # loads its model while we set up
        await self.supervisor.run(product.setup())
        await keep(product.celery(), together=True)
        await keep(product.beat(), together=True)
        if product.has_pages:
            await keep(product.pages(), together=True)
        web = await keep(product.web())
        await self.supervisor.ready(web, self._site_answers, SITE_SECONDS)
        self._note()
        await self._a_conversation_is_live(worker, product.worker_address)
        self._announce("is ready")

    async def _fetch_model(self) -> None:
        model = self.options.model
        if not model:
            return
        failed = f"The model {model} can't be served yet"
        await self.supervisor.run(fetch_model(model), failed)

    async def _a_conversation_is_live(self, worker: Kept, address: str) -> None:
        """Wait until the site would give a conversation to the worker. Too slow a
        machine, a broken model or a large one: the site is announced before, with the
        worker's own words, since what is kept can be read."""
        until, announced, last = time.monotonic() + WORKER_SECONDS, False, ""
        while not await self._worker_is_known():
            reason = await asyncio.to_thread(_get, f"{address}/readyz", 503)
            if reason and reason != last:
                last = reason
                self.console.say(f"worker: {reason}")
            dies, late = worker.deaths >= LOOP_DEATHS, time.monotonic() > until
            if not announced and (late or dies or reason not in ("", LOADING)):
                announced = True
                why = self.supervisor.last_words(worker) if dies else last or LOADING
                self._announce("answers", f"No conversations are possible yet: {why}")
            await asyncio.sleep(POLL_SECONDS)

    async def _databases(self, secrets: dict[str, str]) -> dict[str, str]:
        """Addresses of database and broker: given ones, else our own, started."""
        addresses = {}
        for name in ("DATABASE_URL", "REDIS_URL"):
            if given := os.environ.get(name):
                addresses[name] = given
                self.console.say(f"{name} is set: no embedded server for it")
        if any(name not in addresses for name in ("DATABASE_URL", "REDIS_URL")):
            self.folder.check_servers_reach()
        if "DATABASE_URL" not in addresses:
            addresses["DATABASE_URL"] = await self._postgres(
                secrets["POSTGRES_PASSWORD"]
            )
        if "REDIS_URL" not in addresses:
            addresses["REDIS_URL"] = await self._valkey(secrets["VALKEY_PASSWORD"])
        return addresses

    async def _postgres(self, password: str) -> str:
        server = EmbeddedPostgres(self.folder, password, free_port())
        await asyncio.to_thread(server.initialise)
        kept = await self.supervisor.keep(server.command())
        await self.supervisor.ready(
            kept, lambda: asyncio.to_thread(server.answers), POSTGRES_SECONDS
        )
        return server.url

    async def _valkey(self, password: str) -> str:
        server = EmbeddedValkey(self.folder, password, free_port())
        server.initialise()
        kept = await self.supervisor.keep(server.command())
        await self.supervisor.ready(
            kept, lambda: asyncio.to_thread(server.answers), VALKEY_SECONDS
        )
        return server.url

    async def _site_answers(self) -> bool:
        """With HTTPS=True it sends us on to the proxy: an answer as well."""
        page = f"{self.options.address}/sign-in/"
        answers = [await asyncio.to_thread(_get, page, status) for status in (200, 301)]
        return any(answers)

    async def _worker_is_known(self) -> bool:
        """Whether the site would give a conversation to a worker."""
        health = await asyncio.to_thread(_get, f"{self.options.address}/healthz")
        return bool(health and json.loads(health).get("workers"))

    def _note(self) -> None:
        address = self.options.start_page
        self.folder.write_note(f"process {os.getpid()} serves {address}")

    def _announce(self, what: str, *more: str) -> None:
        took = time.monotonic() - self.begun
        lines = [
            f"PersonaPlex {what} after {took:.1f} s: {self.options.start_page}",
            *more,
            *self._for_others(),
            f"Data and logs: {self.folder.path}",
            "Stop it with Ctrl-C.",
        ]
        account = self.folder.path / "first-account.txt"
        if account.exists():
            lines.insert(1, f"User name and password of the first account: {account}")
        self.console.announce("\n" + "".join(f"  {line}\n" for line in lines))

    def _for_others(self) -> list[str]:
        """What a site needs to know that others shall reach."""
        if self.options.host in LOOPBACK:
            return []
        names = allowed_hosts(self.options.host).replace(",", ", ")
        return [
            f"It answers to these names only: {names}. ALLOWED_HOSTS names others.",
            "Browsers give a page the microphone only over https, or on this machine: "
            'see "A site for others" in docs/operations.md.',
        ]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Nowhere else is anything of ours."""


def _get(address: str, status: int = 200) -> str:
    """The page, or reason, that comes with this status, "" if there is none."""
    # A proxy of the environment must not come between us and our own children.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
    try:
        with opener.open(address, timeout=5) as response:
            return str(response.read().decode()).strip() if status == 200 else ""
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode().strip() or error.reason
            return text if error.code == status else ""
    except (urllib.error.URLError, OSError):
        return ""
