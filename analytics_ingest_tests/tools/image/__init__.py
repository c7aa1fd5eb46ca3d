"""``make test-image``: builds the image of ``Dockerfile``, and runs the services of ``compose.yaml``."""
