"""`/v1` and the error contract in the OpenAPI document."""

import json

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from gateway import bodies, http
from gateway.envelope import Problem


@pytest.fixture(scope="module")
def schema(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_valid_and_names_every_route(schema):
    validate_schema(schema)
    assert {*http.MODES, http.MODELS} <= set(schema["paths"])


def test_every_operation_tells_how_it_refuses(schema):
    operations = [operation for path in schema["paths"].values() for operation in path.values()]

    shape = {"schema": {"$ref": "#/components/schemas/Refusal"}}
    assert len(operations) > 60
    assert {str(one["responses"]["default"]["content"]["application/json"]) for one in operations} == {str(shape)}
    fields = set(schema["components"]["schemas"]["Refusal"]["properties"]["error"]["required"])
    assert fields == set(json.loads(Problem("not_found", "No.").body("req_1"))["error"])


@pytest.mark.parametrize("path", http.MODES)
def test_a_route_says_what_it_takes(schema, path):
    mode = http.MODES[path]
    body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert body["required"] == ["model", *bodies.CONTENT_OF[mode]]
    assert ("stream" in body["properties"]) == (mode in bodies.STREAMED)


@pytest.mark.parametrize("path", http.MODES)
def test_a_route_takes_an_idempotency_key(schema, path):
    assert [one["name"] for one in schema["paths"][path]["post"]["parameters"]] == ["Idempotency-Key"]


def test_limits_are_told(schema):
    body = schema["paths"]["/v1/images/generations"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert (body["properties"]["n"]["minimum"], body["properties"]["n"]["maximum"]) == (1, 10)
    assert body["properties"]["prompt"] == {"type": "string"}
