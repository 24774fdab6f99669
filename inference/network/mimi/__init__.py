"""The Mimi codec, sound to codes and back."""

from inference.network.mimi.codec import Mimi, fp32_convolutions
from inference.network.mimi.config import MIMI_7B, MIMI_TINY, MimiConfig
from inference.network.mimi.streaming import StreamState

__all__ = [
    "MIMI_7B",
    "MIMI_TINY",
    "Mimi",
    "MimiConfig",
    "StreamState",
    "fp32_convolutions",
]
