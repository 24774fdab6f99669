"""The commands of ``python -m inference``, one module each; see ``__main__``."""
