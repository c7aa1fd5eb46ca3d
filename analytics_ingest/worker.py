"""The name by which running deployments start ``celery_app``: ``celery -A analytics_ingest.worker worker``."""

from analytics_ingest.celery_app import app, execute_plan

__all__ = ["app", "execute_plan"]
