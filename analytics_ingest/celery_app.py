"""The Celery app of the workers that execute steps of runs: ``celery -A analytics_ingest.celery_app worker``."""

from dagster_celery.config import DEFAULT_CONFIG, dict_wrapper
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from analytics_ingest.orchestrate.executors import CELERY_OPTIONS, celery_settings

app = make_app({**celery_settings(), "config_source": dict_wrapper({**DEFAULT_CONFIG, **CELERY_OPTIONS})})
execute_plan = create_task(app)
