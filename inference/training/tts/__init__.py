"""The synthesisers that speak the training corpus."""
