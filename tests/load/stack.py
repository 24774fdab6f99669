"""The product around an echo: servers, web and page processes, Celery, echo workers.

    python -m tests.load.stack --data /var/tmp/load --webs 2 --workers 2

It is what scripts/up starts, by the same supervisor, but for the workers and for there
being several web processes. A line of JSON says where everything is; SIGINT ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from inference import supervision
from personaplex_site.up.children import Command
from personaplex_site.up.console import Console
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.launch import Launch, _get
from personaplex_site.up.product import (
    BASE_DIR,
    SERVERS,
    Options,
    Product,
    free_port,
    site_environment,
)

READY_SECONDS = 120
# Many kills in a few minutes are no crash loop here.
supervision.MAX_DELAY = 2.0


class Stack:
    def __init__(self, given: argparse.Namespace, folder: DataFolder) -> None:
        self.given = given
        self.console = Console(folder.logs, verbose=given.verbose)
        self.options = [
            Options(folder.path, given.host, free_port(), given.server)
            for _ in range(given.webs)
        ]
        self.launch = Launch(self.options[0], folder, self.console)
        self.supervisor = self.launch.supervisor

    async def start(self) -> dict[str, object]:
        folder, keep = self.launch.folder, self.supervisor.keep
        secrets = folder.secrets()
        site = site_environment(self.options[0], secrets)
        site["WEB_PROCESSES"] = str(self.given.webs)
        site |= {name: os.environ[name] for name in self.given.set or ()}
        site |= await self.launch._databases(secrets)
        folder.write_environment(site)
        products = [Product(options, folder, site) for options in self.options]
        await self.supervisor.run(products[0].setup())
        if not self.given.no_celery:
            await keep(products[0].celery(), together=True)
            await keep(products[0].beat(), together=True)
        if products[0].has_pages:
            await keep(products[0].pages())
        for i, product in enumerate(products, 1):
            web = dataclasses.replace(product.web(), name=f"web-{i}")
            await keep(web)
        workers = [self._worker(i, site) for i in range(1, self.given.workers + 1)]
        for worker in workers:
            await keep(worker)
        await self._ready(products)
        return {
            "urls": [options.address for options in self.options],
            "environment": str(folder.run / "environment"),
            "logs": str(folder.logs),
        }

    def _worker(self, number: int, site: dict[str, str]) -> Command:
        if self.given.model != "echo":
            return Product(self.options[0], self.launch.folder, site).worker()
        name = f"echo-{number}"
        argv = [sys.executable, "-m", "tests.load.echo_worker", "--name", name]
        # The same port after a restart, as a worker of the product has.
        argv += ["--port", str(free_port()), "--site", self.options[0].address]
        argv += ["--slots", str(self.given.slots)]
        return Command(
            f"worker-{number}",
            argv,
            {**os.environ, **site, "PYTHONUNBUFFERED": "1"},
            BASE_DIR,
            stop_signal=signal.SIGINT,  # SIGTERM would wait for its sessions to move
            stop_seconds=5.0,
        )

    async def _ready(self, products: list[Product]) -> None:
        async with asyncio.timeout(READY_SECONDS):
            for product in products:
                health = f"{product.options.address}/healthz"
                while True:
                    said = await asyncio.to_thread(_get, health)
                    if said and json.loads(said)["workers"] >= self.given.workers:
                        break
                    await asyncio.sleep(0.2)


async def run(stack: Stack) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    starting = asyncio.create_task(stack.start())
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not stopping.is_set():
            sys.stdout.write(json.dumps(starting.result()) + "\n")
            sys.stdout.flush()
            await asked
    finally:
        starting.cancel()
        await stack.supervisor.stop()
    return 0


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder; a temporary one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--server", choices=SERVERS, default=SERVERS[0])
    parser.add_argument("--webs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model", default="echo", choices=("echo", "tiny"))
    parser.add_argument("--slots", type=int, default=64, help="of each worker")
    parser.add_argument("--no-celery", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="show all logs")
    parser.add_argument("--set", action="append", help="environment variable passed on")
    return parser


def main() -> int:
    given = options().parse_args()
    data = given.data or Path(tempfile.mkdtemp(prefix="personaplex-load-"))
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o711)  # root's servers run as another account
    folder = DataFolder(data)
    folder.open()
    stack = Stack(given, folder)
    try:
        return asyncio.run(run(stack))
    finally:
        stack.console.close()
        folder.close()


if __name__ == "__main__":
    raise SystemExit(main())
