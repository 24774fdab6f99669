"""The product as processes: which there are, in what environment, ready when.

Knows the commands of the site, of Celery and of the inference worker; no Django.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from pathlib import Path

import psutil

from personaplex_site.up.children import Command
from personaplex_site.up.errors import CannotStart, WrongSetting
from personaplex_site.up.folder import DataFolder
from personaplex_site.up.options import MODELS, SERVERS

BASE_DIR = Path(__file__).resolve().parent.parent.parent
WORKER_PORTS = 16  # free ones in a row: a worker on each GPU has its own
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NOT_OURS = (EADDRNOTAVAIL, EAFNOSUPPORT)
EVERY_ADDRESS = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    server: str = SERVERS[0]

    model: str = ""  # a folder or a name; "": the small one that is built in
    url_prefix: str = ""  # the path below which a proxy shows the site

    @property
    def address(self) -> str:
        name = "127.0.0.1" if self.host in EVERY_ADDRESS else self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}"

    @property
    def start_page(self) -> str:
        return f"{self.address}{self.url_prefix}/" if self.url_prefix else self.address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of so many in a row."""
    while True:
        first = free_port()
        with contextlib.ExitStack() as probes:
            for port in range(first, first + count):
                probe = probes.enter_context(socket.socket())
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError):  # taken, or beyond the last port
                    break
            else:
                return first


def check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno in NOT_OURS:
            raise WrongSetting(
                f"{host} is no address of this machine: {error.strerror}. Choose "
                "another --host: 127.0.0.1 for this machine only, 0.0.0.0 for all of "
                "its addresses."
            ) from error
        raise CannotStart(
            f"Port {port} on {host} can't be used: {error.strerror}. "
            f"Choose another, for example --port {port + 1}."
        ) from error


def site_environment(options: Options, secrets: dict[str, str]) -> dict[str, str]:
    """What every Django process gets; the caller's own environment goes first."""
    ours = {
        "SECRET_KEY": secrets["SECRET_KEY"],
        "WORKER_SECRET": secrets["WORKER_SECRET"],
        "DATA_DIR": str(options.data),
        "DJANGO_SETTINGS_MODULE": "personaplex_site.settings",
    }
    ours |= {name: os.environ[name] for name in ours if os.environ.get(name)}
    # Also an empty one: then pages run inside the web process.
    pages = os.environ.get("PAGES_SOCKET", str(options.data / "run" / "pages.sock"))
    ours["PAGES_SOCKET"] = pages
    ours["URL_PREFIX"] = options.url_prefix
    return ours | {"ALLOWED_HOSTS": allowed_hosts(options.host)}


def allowed_hosts(host: str) -> str:
    """Given names, and those by which the worker and we ask the site. A site that
    listens on every address of this machine is asked for by any of them."""
    given = os.environ.get("ALLOWED_HOSTS", "")
    names = given.split(",") if given else ["localhost", "[::1]"]
    if not given and host not in LOOPBACK:
        names.append(socket.gethostname())
        names += _own_addresses() if host in EVERY_ADDRESS else []
    names.append("127.0.0.1")
    if host not in EVERY_ADDRESS:
        names.append(f"[{host}]" if ":" in host else host)
    return ",".join(dict.fromkeys(name for name in names if name))


def _own_addresses() -> list[str]:
    """IPv4 and IPv6 as a Host header has them; link-local ones are left out."""
    found = []
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET:
                found.append(each.address)
            elif each.family == socket.AF_INET6 and not each.address.startswith("fe80"):
                found.append(f"[{each.address}]")
    return found


def check_model(model: str) -> None:
    """Whether it is a folder or a name that can be served or fetched."""
    models = os.environ.get("MODELS_DIR") or "~/.cache/personaplex/models"
    downloaded = Path(models).expanduser() / model
    if model in MODELS or Path(model).is_dir() or downloaded.is_dir():
        return
    names = f"{', '.join(MODELS[:-1])} or {MODELS[-1]}"
    raise WrongSetting(
        f"There is no {'folder' if '/' in model else 'model'} {model}. --model takes a "
        f"folder with a model's files, or a name: {names}. Another repository of the "
        "hub has to be downloaded first, see docs/models.md."
    )


def fetch_model(model: str) -> Command:
    """Downloads what is not there yet; looks whether a folder holds a model."""
    arguments = ["-m", "inference", "download", "--if-missing", "--model", model]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return Command("model", [sys.executable, *arguments], environment, BASE_DIR)


class Product:
    """The commands of everything that is not an embedded server."""

    def __init__(
        self, options: Options, folder: DataFolder, site: dict[str, str]
    ) -> None:
        self.options, self.folder = options, folder
        self.worker_port = free_ports(WORKER_PORTS)
        self.site = {**os.environ, **site, "PYTHONUNBUFFERED": "1"}
        # Children that Django starts must not inherit a shell's test settings.
        self.site["DJANGO_SETTINGS_MODULE"] = "personaplex_site.settings"

    @property
    def worker_address(self) -> str:
        return f"http://127.0.0.1:{self.worker_port}"

    @property
    def worker_name(self) -> str:
        return f"{socket.gethostname()}:{self.options.port}"

    def setup(self) -> Command:
        arguments = ["-m", "personaplex_site.up.setup_site", self.worker_name]
        return self._python("setup", arguments)

    def web(self) -> Command:
        host, port = self.options.host, str(self.options.port)
        daphne = ["-m", "personaplex_site.daphne_server", "-b", host, "-p", port]
        # Its access log would have a line per heartbeat, and no bound.
        daphne += ["--no-server-name", "--verbosity", "0"]
        daphne += ["personaplex_site.asgi:application"]
        uvicorn = ["-m", "personaplex_site.uvicorn_server"]
        uvicorn += ["--host", host, "--port", port]
        return self._python(
            "web",
            uvicorn if self.options.server == "uvicorn" else daphne,
            # Not SIGTERM: it would park what is said for another process, and all ends.
            stop_signal=signal.SIGINT,
        )

    @property
    def has_pages(self) -> bool:
        return bool(self.site.get("PAGES_SOCKET"))

    def pages(self) -> Command:
        """What makes the pages that the web process passes on."""
        return self._python(
            "pages",
            ["-m", "personaplex_site.pages_server"],
            # Its own processes end with it, and it removes nothing: it needs no
            # signal to clean up.
            death_signal=signal.SIGKILL,
        )

    def celery(self) -> Command:
        return self._python(
            "celery",
            [
                *("-m", "celery", "-A", "personaplex_site", "--quiet", "worker"),
                # CELERY_PROCESSES says how many: a voice that is being encoded must
                # not hold up the sweeps.
                *("--loglevel", "INFO"),
                *("--without-gossip", "--without-mingle"),
            ],
            stop_seconds=5.0,
            # A warm shutdown waits for the running task, which would keep it alive
            # after us; an unacknowledged task is given to the next one.
            death_signal=signal.SIGKILL,
        )

    def beat(self) -> Command:
        """Celery's clock. Not inside its worker: there it is a grandchild of ours,
        which outlived us when we were killed."""
        return self._python(
            "beat",
            [
                *("-m", "celery", "-A", "personaplex_site", "--quiet", "beat"),
                *("--pidfile=", "--loglevel", "INFO"),
            ],
            stop_seconds=2.0,
            death_signal=signal.SIGKILL,
        )

    def worker(self) -> Command:
        """With several GPUs a parent that starts one worker for each."""
        model = self.options.model
        return self._python(
            "worker",
            [
                *("-m", "inference", "serve", "--host", "127.0.0.1"),
                *("--port", str(self.worker_port), "--site", self.options.address),
                # The same after every start: one row in the site's list of workers.
                *("--name", self.worker_name),
                # Also how long it waits at most for a site that is still starting.
                *("--heartbeat-seconds", os.environ.get("HEARTBEAT_SECONDS", "2")),
                *("--gpus", os.environ.get("WORKER_GPUS") or "auto"),
                *(("--model", model) if model else ()),
            ],
            # Not SIGTERM: it would wait for its sessions to be moved, and all ends.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            stop_seconds=5.0,
        )

    def _python(
        self,
        name: str,
        arguments: list[str],
        *,
        stop_seconds: float = 4.0,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> Command:
        return Command(
            name,
            [sys.executable, *arguments],
            self.site,
            BASE_DIR,
            stop_seconds=stop_seconds,
            stop_signal=stop_signal,
            death_signal=death_signal,
        )
