"""Where Vertex AI has what: hosts by location, models by publisher, endpoints of a project by their number."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from connections.providers.fields import in_path
from connections.providers.google_credentials import PROJECT

LOCATION = re.compile(r"global|us|eu|[a-z]{2,12}-[a-z]{2,12}[0-9]{1,2}")
REGIONS = frozenset({"us", "eu"})
WITH_THEIR_OWN_DIALECT = frozenset({"mistralai", "ai21"})
"""Publishers whose models we do not speak to here."""

_ENDPOINT = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:endpoints/)?([0-9]{1,20})")
_PUBLISHED = re.compile(r"(?:publishers/)?([a-z0-9-]+)/(?:models/)?([^/]+)")


def _location(text: str) -> str:
    if not LOCATION.fullmatch(text):
        raise ValueError("A location is written like europe-west4, or is global, us or eu.")
    return text


def _project(text: str) -> str:
    if text and not PROJECT.fullmatch(text):
        raise ValueError("A project id has 6 to 30 small letters, digits and hyphens, like my-project-1234.")
    return text


Location = Annotated[str, AfterValidator(_location)]
Project = Annotated[str, AfterValidator(_project)]


@dataclass(frozen=True, slots=True)
class Place:
    """A model behind its upstream id: one that somebody publishes, or one that the project runs itself."""

    publisher: str = "google"
    model: str = ""
    endpoint: str = ""

    @property
    def path(self) -> str:
        if self.endpoint:
            return f"endpoints/{self.endpoint}"
        return f"publishers/{self.publisher}/models/{in_path(self.model, '@')}"


@lru_cache(maxsize=4096)
def place_of(upstream_id: str) -> Place:
    if found := _ENDPOINT.fullmatch(upstream_id):
        return Place(endpoint=found[1])
    if found := _PUBLISHED.fullmatch(upstream_id):
        return Place(found[1], found[2])
    return Place("anthropic" if upstream_id.startswith("claude") else "google", upstream_id)


def host_of(location: str) -> str:
    """The address of all that is in a location."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
