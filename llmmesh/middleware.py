"""Mends what libraries get wrong about requests."""

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile


class ChunkedBodies(MiddlewareMixin):
    """Gives chunked API requests their length: DRF takes a body without Content-Length for an empty one."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path.startswith("/api/") and "CONTENT_LENGTH" not in request.META:
            request.META["CONTENT_LENGTH"] = str(len(request.body))


class PlainAddresses(MiddlewareMixin):
    """Refuses addresses with a NUL character, which no database takes."""

    def process_request(self, request: HttpRequest) -> None:
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest("The address holds a NUL character.")


class StaticFiles(WhiteNoiseMiddleware):
    """Answers with a file's whole content: under ASGI Django collects a streamed file in threads, and warns of it."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        response = HttpResponse(status=int(found.status))
        if found.file:
            with found.file as file:
                response.content = file.read()
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response
