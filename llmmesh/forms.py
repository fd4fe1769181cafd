"""How every form of ours looks."""

from typing import Any

from django.forms.renderers import TemplatesSetting
from django.http import HttpRequest

TICK = "form-check-input"
CLASSES = {"select": "form-select", "checkbox": TICK, "hidden": "", "checkbox_select": "choices", "radio": "choices"}
"""The class of a widget by its template's name; every other widget is a plain control."""


class Renderer(TemplatesSetting):
    """Fields with label, help, error and `aria-*`, from `templates/forms/field.html`."""

    field_template_name = "forms/field.html"

    def render(self, template_name: str, context: dict[str, Any], request: HttpRequest | None = None) -> str:
        if widget := context.get("widget"):
            name = template_name.rpartition("/")[2].removesuffix(".html")
            widget["attrs"].setdefault("class", CLASSES.get(name, "form-control"))
            if widget["attrs"]["class"] == "choices":
                for _, options, _ in widget["optgroups"]:
                    for option in options:
                        option["attrs"]["class"] = TICK
        return super().render(template_name, context, request)
