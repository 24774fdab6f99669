"""What setup leaves of earlier versions."""

import json
import os
import time

import pytest

from inference.models import Worker
from personaplex_site.up.setup_site import STATIC_KEPT_DAYS, _remove_old_static
from tests.factories import WorkerFactory

DAY = 86_400


def test_files_of_earlier_versions_stay_for_a_while(tmp_path):
    def write(name, days):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        os.utime(path, (time.time() - days * DAY,) * 2)

    manifest = {"paths": {"js/main.js": "js/main.new.js"}}
    (tmp_path / "staticfiles.json").write_text(json.dumps(manifest))
    old = STATIC_KEPT_DAYS + 1
    for name in ("js/main.js", "js/main.new.js", "js/main.new.js.gz"):
        write(name, old)  # unchanged since, and still served
    write("js/main.old.js", 1)
    write("js/main.older.js", old)
    write("js/main.older.js.gz", old)

    _remove_old_static(tmp_path)

    left = {path.name for path in (tmp_path / "js").iterdir()}
    assert left == {"main.js", "main.new.js", "main.new.js.gz", "main.old.js"}


@pytest.mark.django_db
def test_nobody_is_sent_to_the_worker_of_before_a_restart():
    for name in ("host:8000", "host:8000-gpu1", "host:80001", "elsewhere:8000"):
        WorkerFactory(name=name)

    Worker.objects.forget("host:8000")

    open_ones = set(Worker.objects.open().values_list("name", flat=True))
    assert open_ones == {"host:80001", "elsewhere:8000"}
