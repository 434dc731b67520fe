"""No test here waits before it tries again."""

from tests.fixtures.hub import impatient  # noqa: F401
