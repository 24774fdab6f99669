"""A bad network of real packets: what ``tc netem`` does, for kernels without it.

Two TUN devices, one here and one in a network namespace of its own; this process
carries the packets between them, late, some not at all. So TCP itself retransmits,
backs off and gives up. Needs root and /dev/net/tun. (The kernel of the machine that
this was made on has ``CONFIG_NET_SCH_NETEM is not set``.)

``Network`` is the handle of it; ``python -m tests.load.netem`` is the carrier.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import secrets
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MTU = 1500
QUEUED_PACKETS = 1000  # each way; beyond it the newest is dropped, as netem does


@dataclass(frozen=True)
class Conditions:
    """Each way. Packets never overtake each other, whatever the jitter."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # added to the delay, evenly between 0 and this
    loss: float = 0.0  # share of packets
    stalled: bool = False  # packets wait, and then come all at once


class Way:
    """Packets from one device to the other."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self.lost = self.overflowed = self.carried = 0
        self._queue: list[tuple[float, int, bytes]] = []
        self._last_due = 0.0
        self._count = 0

    def take(self, now: float, conditions: Conditions) -> None:
        packet = os.read(self.source, MTU + 4)
        if random.random() < conditions.loss:
            self.lost += 1
            return
        if len(self._queue) == QUEUED_PACKETS:
            self.overflowed += 1
            return
        late = conditions.delay_ms + random.uniform(0, conditions.jitter_ms)
        self._last_due = max(self._last_due, now + late / 1000)
        self._count += 1
        heapq.heappush(self._queue, (self._last_due, self._count, packet))

    def give(self, now: float, conditions: Conditions) -> None:
        while not conditions.stalled and self._queue and self._queue[0][0] <= now:
            _, _, packet = heapq.heappop(self._queue)
            with contextlib.suppress(OSError):  # the device is down
                os.write(self.target, packet)
                self.carried += 1

    def wait(self, now: float) -> float | None:
        return max(0.0, self._queue[0][0] - now) if self._queue else None


def carry(here: int, there: int) -> None:
    """Until standard input ends; each of its lines is new Conditions."""
    ways = [Way(here, there), Way(there, here)]
    by_source = {way.source: way for way in ways}
    conditions = Conditions()
    pending = b""
    while True:
        now = time.monotonic()
        waits = [] if conditions.stalled else [way.wait(now) for way in ways]
        known = [wait for wait in waits if wait is not None]
        readable, _, _ = select.select(
            [0, here, there], [], [], min(known, default=None)
        )
        now = time.monotonic()
        for source in readable:
            if source != 0:
                by_source[source].take(now, conditions)
                continue
            data = os.read(0, 65536)
            if not data:
                counts = [(way.carried, way.lost, way.overflowed) for way in ways]
                sys.stdout.write(json.dumps(counts) + "\n")
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                conditions = Conditions(**json.loads(line))
        for way in ways:
            way.give(now, conditions)


def open_tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(
        device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI)
    )
    return device


class Network:
    """``here``: where the site is reached from inside; ``run_in``: the prefix of a
    command that is to run inside."""

    def __init__(self, tag: str, number: int, carrier: subprocess.Popen[str]) -> None:
        self.namespace = f"pl{tag}"
        self.device = f"pl{tag}b"
        self.prefix = f"10.{number}.7"
        self.here = f"{self.prefix}.1"
        self.last = 2
        self.run_in = ["ip", "netns", "exec", self.namespace]
        self._carrier = carrier
        self.counts: list[list[int]] = []

    def set(self, conditions: Conditions) -> None:
        assert self._carrier.stdin is not None
        self._carrier.stdin.write(json.dumps(asdict(conditions)) + "\n")
        self._carrier.stdin.flush()

    @property
    def address(self) -> str:
        return f"{self.prefix}.{self.last}"

    def change_address(self, last: int) -> None:
        """As when a phone goes from one network to another: what was open hears
        nothing more, not even that it is over."""
        inside = [*self.run_in, "ip", "addr"]
        _run(*inside, "del", f"{self.address}/24", "dev", self.device)
        self.last = last
        _run(*inside, "add", f"{self.address}/24", "dev", self.device)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    tag = secrets.token_hex(3)
    number = 100 + secrets.randbelow(100)
    first, second = open_tun(f"pl{tag}a"), open_tun(f"pl{tag}b")
    carrier = subprocess.Popen(
        [sys.executable, "-m", "tests.load.netem", str(first), str(second)],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[first, second],
    )
    os.close(first)
    os.close(second)
    made = Network(tag, number, carrier)
    try:
        _run("ip", "netns", "add", made.namespace)
        _run("ip", "link", "set", made.device, "netns", made.namespace)
        _run("ip", "addr", "add", f"{made.here}/24", "dev", f"pl{tag}a")
        _run("ip", "link", "set", f"pl{tag}a", "up")
        inside = [*made.run_in, "ip"]
        _run(*inside, "addr", "add", f"{made.address}/24", "dev", made.device)
        _run(*inside, "link", "set", made.device, "up")
        _run(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        assert carrier.stdin is not None and carrier.stdout is not None
        carrier.stdin.close()
        made.counts = json.loads(carrier.stdout.readline() or "[]")
        carrier.wait(5)
        subprocess.run(["ip", "netns", "del", made.namespace], check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


if __name__ == "__main__":
    carry(int(sys.argv[1]), int(sys.argv[2]))
