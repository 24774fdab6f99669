"""Slots, sessions from open to close, and one step over all that have a frame.

Must not depend on sockets, queues or clocks (but for its warm-up). Build it and call it
on one thread: PyTorch keeps its number of threads and its inference mode per thread.

What a session gets must not depend on which others share its tick. A product over
several rows adds up in another order than the same product over one, so on a CPU every
slot is a batch of its own and a tick runs them one after the other; on a GPU all slots
are one batch whose shape never changes (docs/engine.md has the measurements).
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from inference.engine.api import (
    MAX_TEMPERATURE,
    EngineInfo,
    FrameLog,
    MemoryStats,
    PromptCacheStats,
    Sampling,
    SessionConfig,
)
from inference.engine.batch import BatchStep, SlotBatch
from inference.engine.prefill import Prefill, sound_frames
from inference.engine.prompt_cache import PromptCache
from inference.engine.torch_batch import TorchSlotBatch
from inference.engine.voice_encoding import VoiceEncoder
from inference.errors import ProtocolError, WorkerBusy
from inference.loading.checkpoint import Model
from inference.network.config import TEXT
from inference.network.mimi import fp32_convolutions
from inference.prompts.persona import persona_prompt
from inference.prompts.tokenizer import TextStream
from inference.prompts.voice_file import read_voice
from inference.timing import FRAME_SAMPLES

log = logging.getLogger(__name__)

WARM_UP_FRAMES = 12


@dataclass(frozen=True)
class Step:
    """What one frame gave one session; see ``FrameResult`` for the meaning."""

    tokens: NDArray[np.uint16]  # [17]
    piece: str
    pcm: NDArray[np.int16]  # [1920]


@dataclass
class Slot:
    """One session's life in the engine."""

    prefill: Prefill
    prompt_frames: int
    text: TextStream
    steps: int = 0
    # The sound before the first answer, once the first step has run: frames may come.
    opening: NDArray[np.int16] | None = None

    @property
    def left(self) -> int:
        """Of the work before the first frame, or before more of a log."""
        return self.prefill.left + (self.opening is None and not self.prefill.more)

    def remember(self) -> None:
        """Feed the log's text without returning it: the log's end may cut the bytes of
        a character in two."""
        for token in self.prefill.take_spoken():
            self.text.feed(token)

    @property
    def rows(self) -> int:
        """Timeline rows fed to the model so far."""
        return self.prefill.rows + self.steps


class Engine:
    def __init__(
        self,
        model: Model,
        slots: int,
        threads: int = 1,
        width: int | None = None,
        *,
        new_batch: Callable[[Model, int], SlotBatch] = TorchSlotBatch,
        prompt_cache_mb: int = 512,
        pin_prompt: bool = False,
    ) -> None:
        """``width``: slots of a batch, a divisor of ``slots``; None: 1 on a CPU, else
        all. ``new_batch`` makes one of that width. ``pin_prompt``: the default for
        sessions that don't set it."""
        on_cpu = model.device.type == "cpu"
        width = width or (1 if on_cpu else slots)
        if slots < 1 or slots % width:
            raise ValueError(f"{slots} slots in batches of {width}")
        if on_cpu:
            # A second thread gains little and stalls when the other core is busy.
            torch.set_num_threads(threads)
            if width == 1 and model.lm.dtype == torch.float32:
                model.lm.by_columns()
        fp32_convolutions()
        self.model = model
        self._width = width
        self._prompts = PromptCache(prompt_cache_mb * 1024 * 1024)
        with torch.inference_mode():
            self._batches = [new_batch(model, width) for _ in range(slots // width)]
        self._slots: list[Slot | None] = [None] * slots
        self.info = EngineInfo(
            model=model.config.name,
            fingerprint=model.fingerprint,
            device=str(model.device),
            slots=slots,
            trained=model.trained,
            context_frames=model.config.temporal.context,
            tick_ms_at_start=0.0,
            sound_frames=sound_frames(model.config.mimi),
            pin_prompt=pin_prompt,
        )

    @torch.inference_mode()
    def open(self, config: SessionConfig) -> int:
        """Take a free slot; nothing is run yet. WorkerBusy when there is none,
        RolePromptError or VoicePromptError when the persona prompt does not fit,
        ProtocolError when no session of this model can have left the log."""
        if None not in self._slots:
            raise WorkerBusy(f"all {len(self._slots)} slots taken")
        model = self.model
        _check_sampling(config.sampling)
        voice = None if config.voice is None else read_voice(config.voice, model.config)
        prompt = persona_prompt(model, config.role_prompt, voice)
        prefill = Prefill(model, prompt, config.log, config.more)
        pin = self.info.pin_prompt if config.pin_prompt is None else config.pin_prompt
        index = self._slots.index(None)
        batch, row = self._place(index)
        pinned, least = prompt.frames if pin else 0, prompt.frames
        if config.log is not None:
            least += len(config.log.tokens)
        batch.begin(row, config.sampling, pinned, least)
        session = Slot(prefill, prompt.frames, TextStream(model.tokenizer))
        session.remember()
        self._slots[index] = session
        return index

    @torch.inference_mode()
    def extend(self, slot: int, log: FrameLog, more: bool) -> None:
        """The next frames of the log of a session that was opened or extended with
        ``more`` and is primed; ``prime`` has work again. ProtocolError for no log."""
        session = self._session(slot)
        session.prefill.extend(log, more)
        session.remember()

    @torch.inference_mode()
    def prime(self, slot: int) -> int:
        """Run one chunk of what comes before the first frame; how much is left, 0 when
        frames or more of the log may come."""
        session = self._session(slot)
        if session.prefill.left:
            session.prefill.advance(*self._place(slot), self._prompts)
        elif session.left:
            batch, row = self._place(slot)
            token, session.opening = batch.lead(row)
            session.text.feed(token)
        return session.left

    def prompt_frames(self, slot: int) -> int:
        return self._session(slot).prompt_frames

    def opening(self, slot: int) -> NDArray[np.int16]:
        """Of a primed session the sound, int16 [1920], of the agent frame before its
        first answer: the prompt's last one, or of a log the newest answer again."""
        opening = self._session(slot).opening
        if opening is None:
            raise ValueError(f"slot {slot} is not primed")
        return opening

    def prompt_stats(self) -> PromptCacheStats:
        return self._prompts.stats()

    def memory_stats(self) -> MemoryStats:
        """Slots share memory in one batch of all of them, or not at all."""
        return self._batches[0].memory_stats()

    def context_frames(self, slot: int) -> int:
        """Frames until the context is full and its beginning slides out of view."""
        return max(0, self.info.context_frames - self._session(slot).rows - 1)

    @torch.inference_mode()
    def step(self, pcm: dict[int, NDArray[np.int16]]) -> dict[int, Step]:
        """One frame, int16 [1920], of each of these sessions; all must be primed."""
        for slot, sound in pcm.items():
            if self._session(slot).opening is None:
                raise ValueError(f"slot {slot} is not primed")
            if sound.shape != (FRAME_SAMPLES,) or sound.dtype != np.int16:
                raise ValueError(f"a frame is int16 [{FRAME_SAMPLES}]")
        steps: dict[int, Step] = {}
        for number in sorted({slot // self._width for slot in pcm}):
            slots = [slot for slot in pcm if slot // self._width == number]
            frames = {slot % self._width: pcm[slot] for slot in slots}
            results = self._batches[number].step(frames)
            steps |= {slot: self._result(slot, results) for slot in slots}
        return steps

    def _result(self, slot: int, results: BatchStep) -> Step:
        session, row = self._session(slot), slot % self._width
        session.steps += 1
        piece = session.text.feed(int(results.agent[row, TEXT]))
        tokens = results.record[row].astype(np.uint16)
        return Step(tokens, piece, results.sound[row].copy())

    @torch.inference_mode()
    def close(self, slot: int) -> None:
        """Free the slot; closing a free one does nothing."""
        if self._slots[slot] is not None:
            batch, row = self._place(slot)
            batch.end(row)
            self._slots[slot] = None

    def voice_encoder(self, pcm: NDArray[np.float32]) -> VoiceEncoder:
        with torch.inference_mode():
            return VoiceEncoder(self.model, pcm)

    def warm_up(self) -> float:
        """Hold a short conversation with silence; the median tick in ms."""
        slot = self.open(SessionConfig("warm-up", "Hello.", sampling=Sampling()))
        try:
            while self.prime(slot):
                pass
            silence = np.zeros(FRAME_SAMPLES, dtype=np.int16)
            times = []
            for _ in range(WARM_UP_FRAMES):
                began = time.perf_counter()
                self.step({slot: silence})
                times.append(1000 * (time.perf_counter() - began))
        finally:
            self.close(slot)
        self._prompts.clear()
        tick = median(times[WARM_UP_FRAMES // 3 :])
        self.info = dataclasses.replace(self.info, tick_ms_at_start=tick)
        log.info("%s on %s: %.1f ms a tick", self.info.model, self.info.device, tick)
        return tick

    def _session(self, slot: int) -> Slot:
        session = self._slots[slot]
        if session is None:
            raise ValueError(f"slot {slot} is free")
        return session

    def _place(self, slot: int) -> tuple[SlotBatch, int]:
        return self._batches[slot // self._width], slot % self._width


def _check_sampling(sampling: Sampling) -> None:
    for temperature in (sampling.temperature_text, sampling.temperature_audio):
        if not (math.isfinite(temperature) and 0 <= temperature <= MAX_TEMPERATURE):
            raise ProtocolError(
                f"temperature {temperature}",
                text=f"Temperatures must be between 0 and {MAX_TEMPERATURE:g}.",
            )
    if min(sampling.top_k_text, sampling.top_k_audio) < 1:
        raise ProtocolError("top-k below 1", text="Top-k must be at least 1.")
