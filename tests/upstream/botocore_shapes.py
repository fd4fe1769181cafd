"""AWS's own description of its services, as the judge of what we send."""

from functools import cache
from typing import Any

import botocore.session
from botocore.model import OperationModel
from botocore.validate import ParamValidator


@cache
def operation(service: str, name: str) -> OperationModel:
    return _service(service).operation_model(name)


@cache
def _service(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def complaints(service: str, name: str, body: dict[str, Any], **elsewhere: Any) -> str:
    """What is wrong with a body for this operation; `elsewhere`: its members in path and query. Empty: nothing."""
    return ParamValidator().validate({**elsewhere, **body}, operation(service, name).input_shape).generate_report()
