"""The supervisor: one foreground process that runs the whole product.

Lays out the data folder, and starts, watches and ends the embedded database and broker
and every other child process. It must not depend on Django: what it needs from the site
it asks of child processes.
"""
