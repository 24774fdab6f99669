"""The version of the product, as CHANGELOG.md and pyproject.toml have it."""

VERSION = "0.1.0"
