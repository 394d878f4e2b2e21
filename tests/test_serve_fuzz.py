"""schemathesis asks what the OpenAPI document allows, and what it does not: the server never fails."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from test_serve import Slow, serving

QUICK = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def document():
    """What the server says of itself."""
    with serving(Slow(block_size=64), limits={"max_tokens": 20, "max_seconds": 5.0}) as (address, _):
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("mode", GenerationMode)
def test_nothing_makes_it_fail(document, mode):
    statuses = set()

    def never_fails(case):
        response = case.call(timeout=60)
        statuses.add(response.status_code)
        assert response.status_code < 500, response.text
        if response.status_code >= 400 and case.method != "HEAD":
            assert response.json()["error"]["message"]

    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 7
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.method.upper() == "POST":  # of the others nothing can be wrong
            QUICK(given(operation.as_strategy(generation_mode=mode))(never_fails))()
    assert 400 in statuses and (mode is GenerationMode.NEGATIVE or 200 in statuses)
