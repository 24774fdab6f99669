"""What the review of a conversation shows, made from its frame log."""
