# The image of every part of a deployment: code location, webserver, daemon, Celery worker.
# docs/deployment.md has the command that pins it to a digest
FROM python:3.11.16-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DAGSTER_HOME=/opt/dagster \
    DAGSTER_COMPUTE_LOGS=/opt/dagster/logs \
    DLT_DATA_DIR=/opt/dlt \
    # 50 MB less at the peak of a load: Arrow's own allocator keeps what it has taken
    ARROW_DEFAULT_MEMORY_POOL=system \
    # 15 MB less for each load into PostgreSQL: glibc raises the size from which it gives blocks back (mallopt(3)),
    # and the statements of a load, some 20 MB, stay with each of dozens of threads
    MALLOC_MMAP_THRESHOLD_=1048576

# nothing in it needs root; new volumes get the owner and the permissions of the folders
RUN useradd --create-home --uid 10001 ingest \
    && install --directory --owner ingest --group ingest /opt/dagster \
    && install --directory --owner ingest --group ingest --mode 0700 /opt/dagster/data /opt/dagster/logs /opt/dlt

WORKDIR /app

# dependencies first, in the versions that are tested together: a change of the code does not install them again
COPY constraints.txt pyproject.toml README.md ./
RUN pip install --require-hashes --no-deps --only-binary :all: -r constraints.txt

COPY analytics_ingest ./analytics_ingest
RUN pip install --no-deps --no-build-isolation . && pip check

COPY dagster.production.yaml /opt/dagster/dagster.yaml
COPY workspace.production.yaml /opt/dagster/workspace.yaml

USER ingest
# DuckDB's extensions for a lake, which would be installed at their first use, into a home that is read-only then
RUN python -c "from analytics_ingest.warehouse.destinations.ducklake import provide_extensions; provide_extensions()"

EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
# files for their user alone, and the URL of Dagster's storage from a file
ENTRYPOINT ["python", "-m", "analytics_ingest.entrypoint"]
CMD ["dagster", "api", "grpc", "--host", "0.0.0.0", "--port", "4000", "--module-name", "analytics_ingest.definitions"]
