"""Training of the small model's codec."""
