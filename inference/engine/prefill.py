"""From an open session to its first step: the persona prompt, then a log if any.

The work is done in bounded chunks: the prompt from the cache or by prefill, the rows of
the log, the state of the codec's encoder and decoder. Must not depend on slots.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.api import MAX_LOG_FRAMES, FrameLog
from inference.engine.batch import PCM_SCALE, SlotBatch
from inference.engine.prompt_cache import PromptCache
from inference.errors import ProtocolError
from inference.loading.checkpoint import Model
from inference.network.config import TEXT, ModelConfig
from inference.network.mimi import MimiConfig
from inference.network.timeline import codes_after
from inference.prompts.persona import PersonaPrompt
from inference.timing import FRAME_SAMPLES, STREAMS

PREFILL_CHUNK_CPU = 32  # rows; about 12 ms on one core at tiny
PREFILL_CHUNK_GPU = 192
# Frames of a chunk. On a CPU the encoder gets them one by one, as it got them the first
# time: several together are rounded differently, which decides where two codes are
# almost equally near. The chunks take about 9 and 14 ms at tiny.
ENCODE_CHUNK_CPU, DECODE_CHUNK_CPU = (2, 1), (8, 8)  # frames, and of each call
ENCODE_CHUNK_GPU, DECODE_CHUNK_GPU = (50, 50), (50, 50)
CODEC_MARGIN = 8  # frames that the codec's convolutions remember, rounded up


def sound_frames(config: MimiConfig) -> int:
    """Frames after which a codec that starts from nothing has the state of one that
    never stopped: each attention layer looks one window further back than the last."""
    window = -(-config.context // config.resample_stride)
    return config.n_layers * window + CODEC_MARGIN


class Prefill:
    """The work for one session. ``log`` None: it begins; else it continues after these
    frames. ``more``: further frames of the log follow by ``extend``, and ``more`` stays
    true until they have."""

    def __init__(
        self,
        model: Model,
        prompt: PersonaPrompt,
        log: FrameLog | None = None,
        more: bool = False,
    ) -> None:
        on_cpu = model.device.type == "cpu"
        self._chunk = PREFILL_CHUNK_CPU if on_cpu else PREFILL_CHUNK_GPU
        self._model, self.more = model, more
        self._prompt = self._whole = prompt
        self._codec: CodecRebuild | None = None
        self._frames = 0  # of the log
        self._spoken: list[int] = []
        self.rows = 0  # timeline rows fed so far
        if log is not None:
            self._follow(log)

    def extend(self, log: FrameLog, more: bool) -> None:
        """The frames after those of the log so far, with the sound of all of them."""
        if not self.more:
            raise ProtocolError("a session whose log is complete can't be extended")
        if len(log.user_pcm) != len(log.tokens):
            raise ProtocolError("frames without sound in the rest of a log")
        self._follow(log)
        self.more = more
        self._release_codec()

    def _follow(self, log: FrameLog) -> None:
        config, before = self._model.config, self._whole
        check_log(log, config, self._frames)
        if not len(log.tokens):
            return
        record = torch.from_numpy(log.tokens.astype(np.int64))
        self._whole = before.followed_by(config, record)
        self._spoken += [int(before.last[TEXT]), *record[:-1, TEXT].tolist()]
        self._frames += len(record)
        codes = codes_after(config, before.last, record)
        if self._codec is None:
            self._codec = CodecRebuild(self._model, codes, log.user_pcm)
        else:
            self._codec.extend(codes, log.user_pcm)

    def take_spoken(self) -> list[int]:
        """Text tokens of the frames that were completed, each once."""
        spoken, self._spoken = self._spoken, []
        return spoken

    @property
    def left(self) -> int:
        """Rows and codec frames; 0 when the first step or more of the log may come."""
        codec = 0 if self._codec is None else self._codec.left
        return self._whole.fed - self.rows + codec

    def advance(self, batch: SlotBatch, row: int, cache: PromptCache) -> None:
        """One chunk."""
        if self.rows < self._prompt.fed:
            self._feed_prompt(batch, row, cache)
        elif self.rows < self._whole.fed:
            self.rows = batch.feed(row, self._whole, self.rows, self._chunk)
        elif self._codec is not None and self._codec.left:
            self._codec.advance()
            if not self._codec.left:
                batch.set_codec(row, self._codec.encoder, self._codec.decoder)
                self._release_codec()

    def _release_codec(self) -> None:
        """Its codec's state is megabytes on the device, and the batch has a copy."""
        if not self.more and self._codec is not None and not self._codec.left:
            self._codec = None

    def _feed_prompt(self, batch: SlotBatch, row: int, cache: PromptCache) -> None:
        prompt = self._prompt
        if self.rows == 0 and (kept := cache.get(prompt.key)) is not None:
            batch.restore(row, prompt, kept)
            self.rows = prompt.fed
            return
        self.rows = batch.feed(row, prompt, self.rows, self._chunk)
        if self.rows == prompt.fed:
            size = batch.kept_bytes(prompt.fed)
            cache.add(prompt.key, size, lambda: batch.keep(row, prompt.fed))


class CodecRebuild:
    """The streaming state of both codec halves, from the newest frames of a log.

    The user's codes are known, but what the encoder remembers is sound; the decoder's
    memory follows from the agent's codes [n, 8]. A half that gets ``sound_frames`` of
    n frames begins where the n-th last of them stood: its rotary positions are those
    of the stream that never stopped, and what lies before has no weight at the end.
    """

    def __init__(self, model: Model, codes: Tensor, pcm: NDArray[np.int16]) -> None:
        self._mimi, self._device = model.mimi, model.device
        on_cpu = model.device.type == "cpu"
        self._encode_chunk = ENCODE_CHUNK_CPU if on_cpu else ENCODE_CHUNK_GPU
        self._decode_chunk = DECODE_CHUNK_CPU if on_cpu else DECODE_CHUNK_GPU
        newest, frames = sound_frames(model.config.mimi), len(codes)
        self._pcm = torch.from_numpy(pcm[max(len(pcm) - newest, 0) :].copy())
        self._codes = codes[-newest:]
        self.encoder = self._mimi.encoder_state(1)
        self.decoder = self._mimi.decoder_state(1)
        per_frame = model.config.mimi.resample_stride
        for state, given in ((self.encoder, self._pcm), (self.decoder, self._codes)):
            if len(given) >= newest:
                state.position.fill_(per_frame * (frames - newest))
        self._encoded = self._decoded = 0

    def extend(self, codes: Tensor, pcm: NDArray[np.int16]) -> None:
        """Further frames of the same streams."""
        sound = torch.from_numpy(pcm.copy())
        self._pcm = torch.cat((self._pcm[self._encoded :], sound))
        self._codes = torch.cat((self._codes[self._decoded :], codes))
        self._encoded = self._decoded = 0

    @property
    def left(self) -> int:
        return len(self._pcm) - self._encoded + len(self._codes) - self._decoded

    def advance(self) -> None:
        if self._encoded < len(self._pcm):
            frames = self._pcm[self._encoded : self._encoded + self._encode_chunk[0]]
            self._encoded += len(frames)
            for part in frames.split(self._encode_chunk[1]):
                sound = part.to(self._device).float().div_(PCM_SCALE)
                self._mimi.encode_step(sound.reshape(1, 1, -1), self.encoder)
        else:
            codes = self._codes[self._decoded : self._decoded + self._decode_chunk[0]]
            self._decoded += len(codes)
            for part in codes.split(self._decode_chunk[1]):
                self._mimi.decode_step(part.T[None].to(self._device), self.decoder)


def check_log(log: FrameLog, config: ModelConfig, before: int = 0) -> None:
    """ProtocolError for anything that no session of this model can have left.
    ``before``: frames of the log that came earlier."""
    tokens, pcm = log.tokens, log.user_pcm
    if tokens.dtype != np.uint16 or tokens.ndim != 2 or tokens.shape[1] != STREAMS:
        raise ProtocolError(f"token log of {tokens.dtype} {list(tokens.shape)}")
    if before + len(tokens) > MAX_LOG_FRAMES:
        raise ProtocolError(f"token log of {before + len(tokens)} frames")
    if pcm.dtype != np.int16 or pcm.shape[1:] != (FRAME_SAMPLES,):
        raise ProtocolError(f"sound of {pcm.dtype} {list(pcm.shape)} in a log")
    if len(pcm) > len(tokens):
        raise ProtocolError(f"{len(pcm)} frames of sound for {len(tokens)} of tokens")
    limits = np.full(STREAMS, config.audio_start)
    limits[TEXT] = config.text_cardinality
    if not (tokens < limits).all():
        raise ProtocolError("the token log is of another model")
