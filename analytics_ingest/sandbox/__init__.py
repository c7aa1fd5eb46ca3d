"""Five REST APIs as one local server with made-up data: the upstream of the demo and of the tests.

It shares no code with the package that reads the APIs.
"""
