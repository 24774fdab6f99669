"""Training of the small model's language model."""
