"""schemathesis asks what the OpenAPI document allows, and what it does not: the server never fails."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from test_serve import Slow, serving


@pytest.fixture(scope="module")
def address():
    limits = {"max_tokens": 20, "max_seconds": 5.0}
    with serving(Slow(block_size=64), limits=limits) as (address, _):
        yield address


@pytest.fixture
def document(address):
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_makes_it_fail(case):
    response = case.call(timeout=60)
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and case.method != "HEAD":
        assert response.json()["error"]["message"]
