"""The site's end of ``/voices``: a recording in, a voice prompt out. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect as connect_blocking

from inference.errors import NoWorker, ProtocolError, WorkerLost
from inference.worker import protocol
from inference.worker.handshake import (
    lost,
    message_of,
    socket_options,
)
from inference.worker.protocol import EncodeVoice, VoiceProgress


def encode_voice(
    url: str,
    secret: str,
    pcm: NDArray[np.float32],
    progress: Callable[[float], None] = lambda done: None,
    *,
    fingerprint: str = "",
    timeout: float = 300,
) -> bytes:
    """Have the worker at ``url`` encode 24 kHz mono float32 to a .pt voice prompt.

    Blocks (for Celery tasks). ``progress`` gets 0.0 to 1.0. With a ``fingerprint``
    the worker refuses when it runs another model than that. ``timeout`` is the
    longest silence between two messages. Raises what ``WorkerSession.connect`` does.
    """
    data = memoryview(np.ascontiguousarray(pcm, "<f4").tobytes())
    piece = protocol.MAX_MESSAGE - 1
    try:
        with connect_blocking(
            url.rstrip("/") + "/voices", **socket_options(secret)
        ) as socket:
            socket.send(protocol.dump(EncodeVoice(len(pcm), fingerprint)))
            with suppress(ConnectionClosed):  # its reason is read below
                for start in range(0, len(data), piece):
                    part = data[start : start + piece]
                    socket.send(protocol.encode_blob(protocol.VOICE_PCM, part))
            while True:
                message = socket.recv(timeout)
                if isinstance(message, bytes):
                    return bytes(protocol.decode_blob(protocol.VOICE_PROMPT, message))
                match message_of(message):
                    case VoiceProgress(done):
                        progress(done)
                    case other:
                        raise ProtocolError(f"{other!r:.80} while encoding a voice")
    except ConnectionClosed as error:
        raise lost(error) from error
    except TimeoutError as error:
        raise WorkerLost(f"{url}: silent for {timeout} s") from error
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise NoWorker(f"{url}: {error}") from error
