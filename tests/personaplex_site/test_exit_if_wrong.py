"""Commands without scripts/up say what is wrong with a setting, in a sentence."""

import os
import subprocess
import sys

import pytest

from personaplex_site.up.product import BASE_DIR

DAPHNE = ("-m", "personaplex_site.daphne_server", "personaplex_site.asgi:application")
UVICORN = ("-m", "personaplex_site.uvicorn_server")
CELERY = ("-m", "celery", "-A", "personaplex_site")


@pytest.mark.parametrize(
    ("command", "wrong", "sentence"),
    [
        (DAPHNE, {"SECRET_KEY": "short"}, "SECRET_KEY is shorter than 32 characters."),
        (UVICORN, {"RESUME_SECONDS": "soon"}, "RESUME_SECONDS must be a whole number"),
        ((*CELERY, "worker"), {"VOICE_MIN_SECONDS": "100"}, "VOICE_MIN_SECONDS"),
        ((*CELERY, "beat"), {"LOG_LEVEL": "foo"}, "LOG_LEVEL must be one of"),
    ],
    ids=["daphne", "uvicorn", "celery", "beat"],
)
def test_a_command_ends_with_the_sentence(command, wrong, sentence):
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env={**environment, **wrong},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr
