"""Measures a small model on conversations that it was not trained on."""
