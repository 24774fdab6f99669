"""The clock and the broker options, as Celery reads them."""

from django.conf import settings

from personaplex_site.celery import app, recover_lost_work


def test_every_scheduled_task_exists_and_late_ones_expire():
    app.loader.import_default_modules()
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry["task"] in app.tasks, name
        assert entry["options"]["expires"] <= entry["schedule"], name


def test_a_lost_worker_loses_no_task():
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.broker_transport_options["visibility_timeout"] <= 60


def test_a_starting_worker_looks_for_lost_uploads(monkeypatch):
    from personas.tasks import recover_uploads

    asked = []
    monkeypatch.setattr(recover_uploads, "apply_async", lambda **how: asked.append(how))
    recover_lost_work()
    assert asked == [{"countdown": 16.0}]
