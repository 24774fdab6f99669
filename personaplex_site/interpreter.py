"""How Python runs a process that carries live sound.

It is set once for the whole process, after everything was imported.
"""

from __future__ import annotations

import gc
import resource
import sys

from django.urls import get_resolver

# A thread that writes the frame log may keep the event loop waiting so long each time
# the loop lets go of the interpreter, which it does at every packet. Python's own 5 ms
# add up to what is heard.
SWITCH_SECONDS = 0.0005
# Objects between two looks for cycles: the default has one every few frames.
COLLECT = (10_000, 20, 50)


def settle() -> None:
    """For a process that carries live sound, and no other: load what is otherwise
    loaded by the first who asks for it, in mid-conversation, and let the garbage
    collector never look at any of that again."""
    _ = get_resolver().reverse_dict  # imports every view
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    sys.setswitchinterval(SWITCH_SECONDS)
    # As many open sockets as the system allows, where a shell's default is 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
