"""Property tests: many examples that hypothesis draws, the same in every run, and their number for the table of faults."""

import inspect
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings


def examples(most: int, **strategies) -> Callable:
    """A test of at most ``most`` examples, each of them one try. The test may ask for ``folder``, a folder of its own."""

    def of(body: Callable) -> Callable:
        def test(record_property, tmp_path):
            tried = 0
            own = {"folder": tmp_path} if "folder" in inspect.signature(body).parameters else {}

            def counted(**drawn):
                nonlocal tried
                tried += 1
                body(**drawn, **own)

            always_the_same = settings(
                max_examples=most, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck]
            )
            try:
                always_the_same(given(**strategies)(counted))()
            finally:
                record_property("tries", tried)

        test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
        return test

    return of
