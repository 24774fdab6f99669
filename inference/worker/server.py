"""The worker process: one port, from loading the model to stopping.

Owns the life of the process and what it says of itself. Knows no Django, no tensors
and no scheduling.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import logging
import os
import socket
import time
from contextlib import suppress

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from inference.engine.api import EngineInfo
from inference.engine.model_thread import ModelThread
from inference.errors import ModelError, PersonaplexError, WorkerStopping
from inference.timing import FRAME_MS
from inference.version import VERSION
from inference.worker import protocol
from inference.worker.admission import Admission
from inference.worker.beat import Hardware, Heartbeat
from inference.worker.heartbeat import HeartbeatSender
from inference.worker.options import WorkerOptions
from inference.worker.outbox import bound_kernel_buffer
from inference.worker.routes import Routes
from inference.worker.session import WorkerSide
from inference.worker.voice_job import encode_for
from inference.worker.voices import VoiceCache

log = logging.getLogger(__name__)

MAX_INCOMING = protocol.MAX_VOICE + 1
HANG_SECONDS = 30
MEASURE_AGAIN_SECONDS = 30.0
BROKEN, HUNG = 1, 70  # exit codes: the supervisor starts the process anew
PING_SECONDS = 5
ANY_HOST = ("", "0.0.0.0", "::")
CLOSE_SECONDS = 2


class WorkerServer:
    def __init__(self, thread: ModelThread, options: WorkerOptions) -> None:
        self.thread = thread
        self.options = options
        self.admission = Admission()
        self.voices = VoiceCache(options.voice_cache_mb * 1024 * 1024)
        self.slow_readers = 0
        self.port = options.port
        self._info: EngineInfo | None = None
        self._sides: set[WorkerSide] = set()
        self.started_at = time.time()
        self._server: Server
        self._heartbeat: HeartbeatSender | None = None
        self._stop = asyncio.Event()
        self.exit_code = 0

    async def run(self) -> int:
        """Serve until ``stop`` or the engine breaks; the process's exit code."""
        await self._listen()
        tasks = [asyncio.create_task(self._watch())]
        if self.options.site:
            self._heartbeat = HeartbeatSender(
                self.options.site,
                self.options.secret,
                self.options.heartbeat_seconds,
                self.describe,
                lambda: self._info.device if self._info else "",
            )
            tasks.append(asyncio.create_task(self._heartbeat.run()))
        self.thread.start()
        tasks.append(asyncio.create_task(self._become_ready()))
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._shut_down()
        return self.exit_code

    def stop(self, exit_code: int = 0) -> None:
        self.exit_code = self.exit_code or exit_code
        self.admission.stopping = True
        self._stop.set()

    @property
    def name(self) -> str:
        return self.options.name or f"{socket.gethostname()}:{self.port}"

    @property
    def public_url(self) -> str:
        if self.options.public_url:
            return self.options.public_url
        host = self.options.host
        return f"ws://{'127.0.0.1' if host in ANY_HOST else host}:{self.port}"

    def sessions_changed(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.soon()

    def describe(self, hardware: Hardware | None) -> Heartbeat:
        info, stats = self._info, self.thread.stats()
        return Heartbeat(
            name=self.name,
            url=self.public_url,
            version=VERSION,
            ready=self.admission.ready,
            started_at=self.started_at,
            slots=info.slots if info else 0,
            sessions=stats.sessions,
            model=info.model if info else "",
            fingerprint=info.fingerprint if info else "",
            trained=info.trained if info else False,
            device=info.device if info else "",
            context_frames=info.context_frames if info else 0,
            frames=stats.frames,
            late_frames=stats.late_frames,
            dropped_frames=stats.dropped_frames,
            tick_p50_ms=round(stats.tick_p50_ms, 3),
            tick_p99_ms=round(stats.tick_p99_ms, 3),
            hardware=hardware,
        )

    # From loading to stopping.

    async def _listen(self) -> None:
        self._server = await serve(
            self._handle,
            self.options.host,
            self.options.port,
            process_request=Routes(self).answer,
            compression=None,
            max_size=MAX_INCOMING,
            open_timeout=10,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS * 2,
            close_timeout=CLOSE_SECONDS,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        log.info("Listening on %s:%d, loading the model", self.options.host, self.port)

    async def _become_ready(self) -> None:
        ended = asyncio.wrap_future(self.thread.ended)
        ended.add_done_callback(self._thread_ended)
        try:
            info = await asyncio.wrap_future(self.thread.loaded)
        except Exception as error:  # noqa: BLE001 - whatever loading raised
            self.admission.why_not = f"the model could not be loaded: {error}"
            return  # told by the thread; its end stops the process
        self._info = info
        tick = info.tick_ms_at_start
        while tick > FRAME_MS and not self.options.force:
            self._refuse_to_serve(info, tick)
            await asyncio.sleep(MEASURE_AGAIN_SECONDS)
            tick = await asyncio.wrap_future(self.thread.measure_again())
        self.admission.info = info
        log.info(
            "Ready on %s: %s on %s, %d slots, %.1f ms per tick, %s",
            self.public_url,
            info.model,
            info.device,
            info.slots,
            tick,
            "trained" if info.trained else "untrained: it can't talk yet",
        )
        self.sessions_changed()

    def _refuse_to_serve(self, info: EngineInfo, tick: float) -> None:
        self.admission.why_not = (
            f"one step of {info.model} takes {tick:.0f} ms on {info.device}; "
            f"real time needs less than {FRAME_MS} ms"
        )
        log.error(
            "Not serving: %s. Use a faster device or a smaller model, or --force. "
            "Measuring again in %.0f s, in case something else was running.",
            self.admission.why_not,
            MEASURE_AGAIN_SECONDS,
        )
        self.sessions_changed()

    def _thread_ended(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled() and ended.exception() is not None:
            log.critical("The engine is broken; the process ends")
            self.stop(BROKEN)

    async def _watch(self) -> None:
        """A tick that hangs can't be ended from outside; only the process can."""
        while self.thread.busy_seconds() < HANG_SECONDS:
            await asyncio.sleep(1)
        log.critical("The model thread hangs for %d s; the process ends", HANG_SECONDS)
        faulthandler.dump_traceback()
        for side in list(self._sides):
            side.fail(ModelError("the model thread hangs"))
        await asyncio.sleep(CLOSE_SECONDS)
        os._exit(HUNG)

    async def _shut_down(self) -> None:
        sides = list(self._sides)
        log.info("Stopping, with %d sessions open", len(sides))
        reason = ModelError("the engine broke") if self.exit_code else WorkerStopping()
        for side in sides:
            side.fail(reason)
        goodbye = self._heartbeat.say_goodbye() if self._heartbeat else asyncio.sleep(0)
        await asyncio.gather(goodbye, self._close_sockets())
        await asyncio.to_thread(self.thread.stop)
        log.info("Stopped")

    async def _close_sockets(self) -> None:
        # Sessions send their Failed first; what is open after that is cut off.
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                while self._sides:
                    await asyncio.sleep(0.02)
        self._server.close()
        await self._server.wait_closed()

    def sockets(self) -> int:
        return len(self._server.connections)

    def report(self) -> dict[str, object]:
        """Of GET /stats."""
        stats = self.thread.stats()
        return {
            **dataclasses.asdict(self.describe(None)),
            "ticks": stats.ticks,
            "prompt_cache": dataclasses.asdict(stats.prompt_cache),
            "refused": self.admission.refused,
            "slow_readers": self.slow_readers,
            "voices": {"count": len(self.voices), "bytes": self.voices.bytes},
            "uptime_s": round(time.time() - self.started_at, 1),
        }

    # One connection.

    async def _handle(self, connection: ServerConnection) -> None:
        bound_kernel_buffer(connection)
        try:
            assert connection.request is not None
            if connection.request.path.startswith("/voices"):
                await self._serve_voice(connection)
            else:
                await self._serve_session(connection)
        except ConnectionClosed:
            pass
        except Exception:  # a connection's border
            log.exception("A connection failed")
            await connection.close(1011)

    async def _serve_session(self, connection: ServerConnection) -> None:
        side = WorkerSide(connection, self)
        self._sides.add(side)
        try:
            error = await side.run()
            if side.opened_at is not None:
                now = asyncio.get_running_loop().time()
                self.admission.ended(now - side.opened_at)
            if error is not None:
                log.warning("[%s] %s: %s", side.conversation, error.code, error)
            last = protocol.dump(protocol.describe(error)) if error else None
            await side.outbox.close(last)
        finally:
            self._sides.discard(side)
        await connection.close(_close_code(error))

    async def _serve_voice(self, connection: ServerConnection) -> None:
        try:
            await encode_for(connection, self)
        except PersonaplexError as error:
            log.warning("A voice was not encoded: %s: %s", error.code, error)
            await connection.send(protocol.dump(protocol.describe(error)))
            await connection.close(_close_code(error))


def _close_code(error: PersonaplexError | None) -> int:
    if error is None:
        return 1000
    return 1013 if error.retryable else 1008  # try again later; policy violation
