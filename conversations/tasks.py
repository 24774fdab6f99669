"""Slow readings of conversations, off the web process."""

from celery import shared_task

from conversations.models import Conversation
from conversations.review.levels import measure


@shared_task
def analyse_conversation(conversation_id: str) -> None:
    """Make the levels of an ended conversation. Running it twice does no harm."""
    conversation = Conversation.objects.filter(pk=conversation_id).first()
    if conversation is not None and not conversation.is_live:
        measure(conversation)
