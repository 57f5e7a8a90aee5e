"""The order of the tests: the long files first, so that no process is left alone with one at the end."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that run steps before the others; within a file nothing moves."""
    long = {item.path for item in items if item.get_closest_marker("pipeline")}
    items.sort(key=lambda item: item.path not in long)
