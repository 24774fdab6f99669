"""Imports point one way; inference runs without Django, the site without torch."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("personaplex_site", "personas", "conversations", "inference")
WEB = ("django", "channels", "celery", "daphne", "asgiref", "unfold", "kombu")
# Django's view of the fleet lives beside the workers, in these files only.
DJANGO_FILES = ("models", "admin", "apps", "urls", "views", "migrations")
# What the site may know of inference: the contracts, and the fleet in the database.
CONTRACTS = (
    "inference.errors",
    "inference.timing",
    "inference.models",
    "inference.supervision",
    "inference.prompts.prompt_text",
    "inference.prompts.voice_name",
    "inference.engine.api",
    "inference.worker.bearer",
    "inference.worker.client",
    "inference.worker.protocol",
)
# Tools without a subject of their own; they import nothing of ours but each other.
SITE_TOOLS = (
    "personaplex_site.answers",
    "personaplex_site.audit",
    "personaplex_site.daphne_scope",
    "personaplex_site.env",
    "personaplex_site.lists",
    "personaplex_site.logs",
    "personaplex_site.methods",
    "personaplex_site.ranges",
    "personaplex_site.sessions",
    "personaplex_site.signed_in",
    "personaplex_site.stale_forms",
    "personaplex_site.watching",
)

# Who may import what of ours, most particular name first.
ARROWS = {
    "inference.network": (
        "inference.network",
        "inference.checked_json",
        "inference.timing",
    ),
    "inference.prompts.prompt_text": ("inference.errors", "inference.timing"),
    "inference.prompts.voice_name": (),
    "inference.prompts": (
        "inference.prompts",
        "inference.network",
        "inference.errors",
        "inference.timing",
    ),
    "inference.loading": (
        "inference.loading",
        "inference.prompts",
        "inference.network",
        "inference.kernels",
        "inference.checked_json",
        "inference.errors",
        "inference.timing",
    ),
    "inference.engine.api": ("inference.errors", "inference.timing"),
    "inference.worker.client": (*CONTRACTS, "inference.worker"),
    "inference.worker.protocol": (
        *CONTRACTS,
        "inference.worker.binary",
        "inference.checked_json",
    ),
    "inference.worker.binary": CONTRACTS,
    "inference.checked_json": ("inference.errors",),
    "inference.supervision": (),
    "inference.engine": ("inference",),
    "inference.training": ("inference",),
    "inference.worker": ("inference",),
    "inference": ("inference",),
    "personas": ("personas", *CONTRACTS, *SITE_TOOLS),
    "conversations.audio": ("conversations.audio", "inference.timing"),
    "conversations.errors": ("inference.errors",),
    "conversations.models": (
        "conversations.models",
        "conversations.errors",
        "conversations.frame_log",
        *CONTRACTS,
        *SITE_TOOLS,
    ),
    "conversations.frame_log": (
        "conversations.frame_log",
        "conversations.models",
        "conversations.errors",
        "conversations.audio.opus",
        "conversations.threads",
        *CONTRACTS,
    ),
    "conversations.review": (
        "conversations.review",
        "conversations.frame_log",
        "conversations.models",
        "conversations.errors",
        "conversations.audio",
        "inference.timing",
    ),
    "conversations": ("conversations", "personas", *CONTRACTS, *SITE_TOOLS),
    # Before anything starts, what the worker would refuse of the environment.
    "personaplex_site.up.check_settings": (
        "personaplex_site",
        "inference.commands.serve",
    ),
    "personaplex_site": ("personaplex_site", "personas", "conversations", *CONTRACTS),
}
NEVER = {
    "inference.engine": ("inference.worker", "inference.commands"),
    "inference.worker": ("inference.commands",),
}
# All other packages learn what a conversation was from its frame log.
ONLY = {
    "conversations.review": ("conversations.views", "conversations.tasks"),
    "inference.bench": ("inference.commands",),
}
# The one reader: chunks are unpacked nowhere else.
UNPACKERS = ("conversations.frame_log.format", "conversations.frame_log.reader")


def inside(module, *packages):
    return any(module == p or module.startswith(p + ".") for p in packages)


def modules():
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                path_of = ROOT / Path(*whole.split("."))
                is_module = path_of.with_suffix(".py").exists() or path_of.is_dir()
                yield whole if is_module else node.module


def is_django_file(module):
    parts = module.split(".")
    return parts[0] == "inference" and len(parts) > 1 and parts[1] in DJANGO_FILES


MODULES = list(modules())


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 60


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_point_one_way(module, path):
    allowed = next(ARROWS[p] for p in ARROWS if inside(module, p))
    for name in imports(path):
        if name.split(".")[0] in OURS:
            assert inside(name, *allowed), f"{module} imports {name}"
        for package, forbidden in NEVER.items():
            if inside(module, package):
                assert not inside(name, *forbidden), f"{module} imports {name}"
        for package, users in ONLY.items():
            if not inside(module, package, *users):
                assert not inside(name, package), f"{module} imports {name}"
        if not inside(module, "inference.training"):
            assert not inside(name, "inference.training"), f"{module} imports {name}"
        if inside(module, "inference") and not is_django_file(module):
            assert not inside(name, *WEB), f"{module} imports {name}"
            assert not is_django_file(name), f"{module} imports {name}"
        if inside(module, "personas", "conversations", "personaplex_site"):
            assert not inside(name, "torch"), f"{module} imports {name}"


def names_in_the_rules():
    for rules in (ARROWS, NEVER, ONLY):
        for name, others in rules.items():
            yield from (name, *others)
    yield from (f"inference.{file}" for file in DJANGO_FILES)
    yield from (*OURS, *CONTRACTS, *SITE_TOOLS, *UNPACKERS)


def test_the_rules_name_nothing_that_is_not_there():
    """A rule about a module that was moved or removed can't fail."""
    known = {name for name, _ in MODULES}
    assert {name for name in names_in_the_rules() if name not in known} == set()
    for name in WEB:
        assert importlib.import_module(name)


def test_the_frame_log_has_one_reader():
    unpacks = re.compile(r"\bunpack_(?:tokens|timings|\w+_packets)\b")
    others = [(m, p) for m, p in MODULES if not inside(m, *UNPACKERS)]
    assert [m for m, p in others if unpacks.search(p.read_text())] == []


@pytest.mark.parametrize("tool", SITE_TOOLS)
def test_tools_of_the_site_stand_alone(tool):
    path = dict(MODULES).get(tool)
    if path is None:
        pytest.fail(f"{tool} is gone; take it off the list")
    ours = {name for name in imports(path) if name.split(".")[0] in OURS}
    assert not ours - {*SITE_TOOLS}


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_inference_imports_where_there_is_no_django():
    wanted = [
        name
        for name, _ in MODULES
        if inside(name, "inference")
        and not is_django_file(name)
        # Kernels need Triton, which comes with GPU builds of torch only.
        and not inside(name, "inference.training", "inference.kernels")
        and not name.endswith("__main__")
    ]
    python(
        "import sys, importlib\n"
        f"for name in {WEB!r}: sys.modules[name] = None\n"
        f"for name in {wanted!r}: importlib.import_module(name)\n"
    )


def test_what_the_site_knows_of_inference_needs_no_torch():
    wanted = [name for name in CONTRACTS if name != "inference.models"]
    python(
        "import sys, importlib\n"
        "sys.modules['torch'] = None\n"
        f"for name in {wanted!r}: importlib.import_module(name)\n"
    )
