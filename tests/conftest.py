"""The order of the tests: the long files first, so that no process is left alone with one at the end.

No example of Hypothesis fails because the machine is slow or busy.
"""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that run steps before the others; within a file nothing moves."""
    long = {item.path for item in items if item.get_closest_marker("pipeline")}
    items.sort(key=lambda item: item.path not in long)
