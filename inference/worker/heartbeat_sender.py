"""Sends heartbeats to the site, every few seconds and when sessions change.

Runs on the event loop; the hardware is read on a thread. A site that can't be reached
never disturbs a session.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

import httpx

from inference.worker.bearer import authorization
from inference.worker.heartbeat import Hardware, dump_heartbeat
from inference.worker.status import WorkerStatus
from inference.worker.telemetry import Telemetry

log = logging.getLogger(__name__)

PATH = "/api/workers/heartbeat"
MIN_GAP = 0.5  # seconds between two heartbeats, however often sessions change
POST_SECONDS = 5.0
LONGEST_BACKOFF = 60.0
START_SECONDS = 60.0  # that a site which was never reached may take to start


class HeartbeatSender:
    def __init__(
        self, site: str, secret: str, every: float, status: WorkerStatus
    ) -> None:
        self._url = site.rstrip("/") + PATH
        self._headers = authorization(secret) | {"Content-Type": "application/json"}
        self._every = every
        self._status = status
        self._telemetry: Telemetry | None = None
        self._changed = asyncio.Event()
        self._away_since: float | None = None
        self._taken = False  # once the site has taken one
        self._warned = False
        self.failures = 0

    def soon(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with self._client() as client:
            while True:
                self._changed.clear()
                await self._send(client)
                if self._away_since is not None:
                    await asyncio.sleep(self._backoff())
                    continue
                await asyncio.sleep(MIN_GAP)
                try:
                    async with asyncio.timeout(max(self._every - MIN_GAP, 0)):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    async def say_goodbye(self) -> None:
        """One last heartbeat, sent while the worker is stopping: the site then counts
        the worker as gone at once. The site may have stopped first, which is fine."""
        self._warned = True
        async with self._client(timeout=2.0) as client:
            await self._send(client)

    def _client(self, timeout: float = POST_SECONDS) -> httpx.AsyncClient:
        # The environment's proxies are not for the site's own network.
        return httpx.AsyncClient(
            headers=self._headers, timeout=timeout, trust_env=False
        )

    async def _send(self, client: httpx.AsyncClient) -> None:
        try:
            hardware = await asyncio.to_thread(self._sample)
            body = dump_heartbeat(self._status.heartbeat(hardware))
            answer = await client.post(self._url, content=body)
        except httpx.HTTPError as error:
            absent = isinstance(error, httpx.ConnectError)
            self._note(f"{type(error).__name__} {error}".strip(), absent)
        except Exception:  # a task's border: telemetry must not end the heartbeat
            log.exception("The heartbeat failed")
            self._note("internal error")
        else:
            status = answer.status_code
            problem = "" if answer.is_success else f"{status} {answer.text:.200}"
            self._note(problem, absent=status == HTTPStatus.SERVICE_UNAVAILABLE)

    def _sample(self) -> Hardware | None:
        device = self._status.device
        if not device:
            return None  # no device is known before the model is loaded
        if self._telemetry is None:
            self._telemetry = Telemetry(device)
        return self._telemetry.sample()

    def _note(self, problem: str, absent: bool = False) -> None:
        """Log once that the site is away, and once that it is back. One that starts
        together with the worker, or after it, is given START_SECONDS."""
        now = asyncio.get_running_loop().time()
        if not problem:
            if self._warned and self._away_since is not None:
                away = now - self._away_since
                log.info("The site takes heartbeats again, after %.0f s", away)
            self._away_since, self.failures = None, 0
            self._taken, self._warned = True, False
            return
        self.failures += 1
        self._away_since = self._away_since or now
        waited = now - self._away_since
        starting = absent and not self._taken and waited < START_SECONDS
        if starting or self._warned:
            return
        self._warned = True
        log.warning(
            "The site does not take heartbeats at %s: %s. Sessions are not affected; "
            "it is tried again.",
            self._url,
            problem,
        )

    def _backoff(self) -> float:
        wait = MIN_GAP * 2 ** min(self.failures, 10)
        return min(wait, self._every, LONGEST_BACKOFF)
