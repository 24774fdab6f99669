"""The supervisor: one foreground process that runs the whole product.

Owns the data folder's layout, the embedded database and broker, and the life of every
child process. Knows no Django: what it needs from the site it asks of child processes.
"""
