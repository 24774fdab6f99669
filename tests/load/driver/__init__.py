"""Many conversations at once, held by one process that speaks like browsers.

Knows the protocol of docs/protocol.md from the browser's side; ``manage.py load_test``
is its command line. The product itself never imports it.
"""
