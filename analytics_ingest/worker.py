"""The former name of ``celery_app``, for deployments that start ``celery -A analytics_ingest.worker worker``."""

from analytics_ingest.celery_app import app, execute_plan

__all__ = ["app", "execute_plan"]
