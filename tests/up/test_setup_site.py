"""What setup leaves of earlier versions."""

import pytest

from inference.models import Worker
from tests.factories import WorkerFactory


@pytest.mark.django_db
def test_no_one_is_sent_to_the_worker_of_before_a_restart():
    for name in ("host:8000", "host:8000-gpu1", "host:80001", "elsewhere:8000"):
        WorkerFactory(name=name)

    Worker.objects.forget("host:8000")

    open_ones = set(Worker.objects.open().values_list("name", flat=True))
    assert open_ones == {"host:80001", "elsewhere:8000"}
