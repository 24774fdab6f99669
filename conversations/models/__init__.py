"""Conversations, their frame log and the queue: rows, and how their state changes."""

from conversations.models.conversation import Conversation
from conversations.models.frame_chunk import FrameChunk, Levels
from conversations.models.queue import QueueEntry

__all__ = ["Conversation", "FrameChunk", "Levels", "QueueEntry"]
