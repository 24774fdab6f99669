"""How static files are named, by a hash of their content."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Hashed names in the imports between our JavaScript modules too.

    Without it only the entry module has a hashed name, and for a minute after a
    deploy a browser may run a new entry module with old modules from its cache.
    """

    support_js_module_import_aggregation = True
