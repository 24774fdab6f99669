"""An engine without a model: the agent says what the user said, one frame later.

It keeps the engine's contract (slots, bounded chunks, one thread) and misbehaves on
request, so that the model thread and the sockets can be tested without weights.
"""

import hashlib
import threading
import time
from dataclasses import dataclass

import numpy as np
import torch

from inference.engine.api import EngineInfo, MemoryStats, PromptCacheStats
from inference.errors import (
    ProtocolError,
    RolePromptError,
    VoicePromptError,
    WorkerBusy,
)
from inference.timing import FRAME_SAMPLES, STREAMS

CHUNK_ROWS = 8
BREAKS_THE_STEP = 13_000  # as a frame's first sample
BREAKS_THE_DEVICE = 13_001
BAD_VOICE = b"not a voice prompt"
BAD_TOKEN = 65_535  # in a log


@dataclass(frozen=True)
class EchoStep:
    tokens: np.ndarray
    piece: str
    pcm: np.ndarray


class EchoVoiceEncoder:
    def __init__(self, pcm, seconds):
        self.pcm, self.seconds, self.done = pcm, seconds, 0.0

    def step(self):
        time.sleep(self.seconds)
        self.done = min(1.0, self.done + 0.1)
        return 1.0 if self.done > 0.95 else self.done

    def result(self):
        return b"voice of " + hashlib.sha256(self.pcm.tobytes()).digest()


class EchoEngine:
    def __init__(
        self, slots=2, tick_seconds=0.001, chunk_seconds=0.0, tick_ms_at_start=1.0
    ):
        self.info = EngineInfo(
            model="echo",
            fingerprint="f" * 64,
            device="cpu",
            slots=slots,
            trained=False,
            context_frames=3000,
            tick_ms_at_start=tick_ms_at_start,
            sound_frames=20,
        )
        self.tick_seconds, self.chunk_seconds = tick_seconds, chunk_seconds
        self.tick_ms = tick_ms_at_start
        self.memory = MemoryStats()
        self.held = threading.Event()  # cleared: the step hangs
        self.held.set()
        self.rows, self.last, self.steps = {}, {}, {}
        self.calls = []  # ("step", slots) and ("prime", slot), in order
        self.threads = set()

    def _mine(self):
        self.threads.add(threading.current_thread().name)
        assert torch.is_inference_mode_enabled()

    def open(self, config):
        self._mine()
        if len(config.role_prompt) > 1000:
            raise RolePromptError("1000 characters")
        if config.voice == BAD_VOICE:
            raise VoicePromptError("unreadable")
        free = set(range(self.info.slots)) - set(self.rows)
        if not free:
            raise WorkerBusy
        slot = min(free)
        self.rows[slot] = 10 + len(config.role_prompt)
        self.last[slot] = np.zeros(FRAME_SAMPLES, np.int16)
        self.steps[slot] = 0
        if config.log is not None:
            self._follow(slot, config.log)
        return slot

    def extend(self, slot, log, more):
        self._mine()
        self._follow(slot, log)

    def _follow(self, slot, log):
        """Of a log only its last sound and its length are of interest."""
        if (log.tokens == BAD_TOKEN).any():
            raise ProtocolError("the token log is of another model")
        self.rows[slot] += len(log.tokens)
        self.steps[slot] += len(log.tokens)
        if len(log.user_pcm):
            self.last[slot] = log.user_pcm[-1]

    def prime(self, slot):
        self._mine()
        time.sleep(self.chunk_seconds)
        self.calls.append(("prime", slot))
        self.rows[slot] = max(0, self.rows[slot] - CHUNK_ROWS)
        return self.rows[slot]

    def prompt_frames(self, slot):
        return 10

    def context_frames(self, slot):
        return 2990 - self.steps[slot]

    def prompt_stats(self):
        return PromptCacheStats(misses=1)

    def memory_stats(self):
        return self.memory

    def step(self, pcm):
        self._mine()
        self.held.wait(20)
        time.sleep(self.tick_seconds)
        self.calls.append(("step", tuple(sorted(pcm))))
        return {slot: self._step(slot, frame) for slot, frame in pcm.items()}

    def _step(self, slot, frame):
        if frame[0] == BREAKS_THE_STEP:
            raise ValueError("a row went wrong")
        if frame[0] == BREAKS_THE_DEVICE:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        said, self.last[slot] = self.last[slot], frame
        self.steps[slot] += 1
        tokens = np.full(STREAMS, self.steps[slot], np.uint16)
        return EchoStep(tokens, f" {self.steps[slot]}", said)

    def close(self, slot):
        self._mine()
        del self.rows[slot]

    def voice_encoder(self, pcm):
        self._mine()
        return EchoVoiceEncoder(pcm, self.chunk_seconds)

    def warm_up(self):
        return self.tick_ms


def frame_of(number):
    return np.full(FRAME_SAMPLES, number, np.int16)
