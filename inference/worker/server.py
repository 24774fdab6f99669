"""The worker process: one port, from loading the model to stopping."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
from contextlib import suppress

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from inference.engine.api import EngineInfo
from inference.engine.model_thread import DeviceLost, ModelThread
from inference.errors import ModelError, PersonaplexError, WorkerStopping
from inference.timing import FRAME_MS
from inference.worker import protocol
from inference.worker.admission import Admission
from inference.worker.heartbeat_sender import HeartbeatSender
from inference.worker.options import WorkerOptions
from inference.worker.outbox import bound_kernel_buffer
from inference.worker.presets import Presets
from inference.worker.routes import Routes
from inference.worker.session_registry import SessionRegistry
from inference.worker.session_socket import SessionSocket
from inference.worker.status import WorkerStatus
from inference.worker.voice_job import encode_for
from inference.worker.voices import VoiceCache

log = logging.getLogger(__name__)

MAX_INCOMING = protocol.MAX_VOICE + 1
HANG_SECONDS = 30
WATCH_SECONDS = 1.0
STALL_SECONDS = 5  # a tick that takes longer: not ready until it ends
MEASURE_AGAIN_SECONDS = 30.0
BROKEN, HUNG, GPU_LOST = 1, 70, 71  # exit codes; a supervisor restarts the process
PING_SECONDS = 5
CLOSE_SECONDS = 2


class WorkerServer:
    def __init__(self, thread: ModelThread, options: WorkerOptions) -> None:
        self.thread = thread
        self.options = options
        self.admission = Admission()
        self.voices = VoiceCache(options.voice_cache_mb * 1024 * 1024)
        self.sessions = SessionRegistry(
            thread, self.admission, options.resume_seconds, self.sessions_changed
        )
        self.status = WorkerStatus(
            options, thread, self.admission, self.sessions, self.voices, options.port
        )
        self.exit_code = 0
        self._sockets: set[SessionSocket] = set()
        self._voice_jobs = 0
        self._drainer: asyncio.Task[None] | None = None
        self._server: Server
        self._heartbeat: HeartbeatSender | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until ``stop`` or the engine breaks; the process's exit code."""
        await self._listen()
        tasks = [asyncio.create_task(self._watch())]
        if self.options.site:
            self._heartbeat = HeartbeatSender(
                self.options.site,
                self.options.secret,
                self.options.heartbeat_seconds,
                self.status,
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

    def drain(self) -> None:
        """Refuse new sessions, ask the site to move the running ones, and stop: when
        none is left, or after ``drain_seconds`` at the latest."""
        if self._drainer is None:
            self._drainer = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        seconds = self.options.drain_seconds
        log.info("Draining %d sessions, %.0f s at most", len(self.sessions), seconds)
        self.admission.draining = True
        self.sessions.end_parked()
        for socket in self._sockets:
            socket.drain(seconds)
        self.sessions_changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.sessions) or self._voice_jobs:
                    await asyncio.sleep(0.05)
        self.stop()

    @property
    def port(self) -> int:
        return self.status.port

    def sessions_changed(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.soon()

    # From loading to stopping.

    async def _listen(self) -> None:
        self._server = await serve(
            self._handle,
            self.options.host,
            self.options.port,
            process_request=self._routes().answer,
            compression=None,
            max_size=MAX_INCOMING,
            open_timeout=10,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS * 2,
            close_timeout=CLOSE_SECONDS,
        )
        self.status.port = next(iter(self._server.sockets)).getsockname()[1]
        log.info("Listening on %s:%d, loading the model", self.options.host, self.port)

    def _routes(self) -> Routes:
        return Routes(
            self.status,
            Presets(self.options.model),
            open_sockets=lambda: len(self._server.connections),
        )

    async def _become_ready(self) -> None:
        ended = asyncio.wrap_future(self.thread.ended)
        ended.add_done_callback(self._thread_ended)
        try:
            # Shielded: the thread can't give its answer to a future that a stop has
            # cancelled meanwhile, and would break.
            info = await asyncio.shield(asyncio.wrap_future(self.thread.loaded))
        except Exception as error:  # noqa: BLE001 - whatever loading raised
            self.admission.why_not = f"the model could not be loaded: {error}"
            return  # the thread has logged it; its end stops the process
        self.status.info = info
        tick = info.tick_ms_at_start
        while tick > FRAME_MS and not self.options.force:
            self._refuse_to_serve(info, tick)
            await asyncio.sleep(MEASURE_AGAIN_SECONDS)
            again = asyncio.wrap_future(self.thread.measure_again())
            tick = await asyncio.shield(again)
        self.admission.info = info
        if info.why_not_fast:
            log.warning(
                "Served by the plain engine, %.1f ms per tick: the fast one can't "
                "start on this GPU: %s",
                tick,
                info.why_not_fast,
            )
        log.info(
            "Ready on %s: %s on %s, %d slots, %.1f ms per tick, %s",
            self.status.public_url,
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
        error = None if ended.cancelled() else ended.exception()
        if isinstance(error, DeviceLost):
            log.critical(
                "The GPU was lost or broke down (%s); the process ends with %d. Its "
                "sessions move to another worker where there is one. Look at "
                "nvidia-smi and dmesg (Xid) before it is started again.",
                *(error, GPU_LOST),
            )
            self.stop(GPU_LOST)
        elif error is not None:
            log.critical("The engine is broken; the process ends")
            self.stop(BROKEN)

    async def _watch(self) -> None:
        """A tick that hangs can't be ended from outside; only the process can."""
        while (busy := self.thread.busy_seconds()) < HANG_SECONDS:
            if (busy > STALL_SECONDS) is not self.admission.stalled:
                self.admission.stalled = busy > STALL_SECONDS
                log.warning("The model thread is stuck: %s", self.admission.stalled)
                self.sessions_changed()
            await asyncio.sleep(WATCH_SECONDS)
        log.critical("The model thread hangs for %d s; the process ends", HANG_SECONDS)
        faulthandler.dump_traceback()
        for socket in list(self._sockets):
            socket.fail(ModelError("the model thread hangs"))
        await asyncio.sleep(CLOSE_SECONDS)
        os._exit(HUNG)

    async def _shut_down(self) -> None:
        sockets = list(self._sockets)
        log.info("Stopping, with %d sessions open", len(self.sessions))
        if self._drainer is not None:
            self._drainer.cancel()
        reason = ModelError("the engine broke") if self.exit_code else WorkerStopping()
        self.sessions.end_parked()
        for socket in sockets:
            socket.fail(reason)
        goodbye = self._heartbeat.say_goodbye() if self._heartbeat else asyncio.sleep(0)
        await asyncio.gather(goodbye, self._close_sockets())
        await asyncio.to_thread(self.thread.stop)
        log.info("Stopped")

    async def _close_sockets(self) -> None:
        # Sessions send their Failed first; what is open after that is cut off.
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                while self._sockets:
                    await asyncio.sleep(0.02)
        self._server.close()
        await self._server.wait_closed()

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
        socket = SessionSocket(connection, self.sessions, self.voices)
        self._sockets.add(socket)
        try:
            error = await socket.run()
            self.status.slow_readers += socket.slow_reader
            if error is not None:
                log.warning("[%s] %s: %s", socket.conversation, error.code, error)
            last = protocol.dump(protocol.describe(error)) if error else None
            await socket.outbox.close(last)
        finally:
            self._sockets.discard(socket)
        await connection.close(_close_code(error))

    async def _serve_voice(self, connection: ServerConnection) -> None:
        self._voice_jobs += 1
        try:
            await encode_for(connection, self.thread, self.admission)
        except PersonaplexError as error:
            log.warning("A voice was not encoded: %s: %s", error.code, error)
            await connection.send(protocol.dump(protocol.describe(error)))
            await connection.close(_close_code(error))
        finally:
            self._voice_jobs -= 1


def _close_code(error: PersonaplexError | None) -> int:
    if error is None:
        return 1000
    return 1013 if error.retryable else 1008  # try again later; policy violation
