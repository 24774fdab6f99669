"""Models from the Hugging Face hub: fetched, checked and laid out as a directory that
:mod:`inference.loading.checkpoint` loads."""
