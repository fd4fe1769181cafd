"""What an admin says of one endpoint: what its container speaks, and the headers that SageMaker takes for it."""

from typing import Literal

from connections.providers.fields import HeaderText
from connections.providers.prompt_formats import PromptOptions
from connections.providers.query_template import QueryTemplate
from connections.providers.sagemaker_shapes import SHAPES, NoTemplate, OwnTemplate, Shape
from connections.providers.settings import setting

OWN = "own-template"


class SageMakerOptions(PromptOptions):
    shape: Literal[
        "hf-messages",
        "hf-tgi",
        "hf-summarization",
        "hf-embeddings",
        "llama",
        "llama-2-chat",
        "claude",
        "jurassic-2",
        "command",
        "own-template",
    ] = setting(
        "Shape",
        default="hf-messages",
        help="What the endpoint's container speaks. hf-messages: OpenAI's chat (vLLM, LMI, TGI from 1.4 on). "
        "hf-tgi: TGI's own. llama, llama-2-chat: JumpStart. own-template: as a query template says.",
    )
    template: QueryTemplate | None = setting(
        "Query template", default=None, help="For the shape own-template: how the endpoint is asked and understood."
    )
    streaming: bool = setting(
        "Streams", default=True, help="Switch off for a container that cannot stream: its answers then come whole."
    )
    custom_attributes: HeaderText = setting(
        "Custom attributes",
        default="",
        help="Passed to the container. JumpStart's Llama wants accept_eula=true, by which you accept its licence.",
        max_length=1024,
        placeholder="accept_eula=true",
    )
    inference_component: HeaderText = setting(
        "Inference component", default="", help="If the endpoint has several.", advanced=True, max_length=63
    )
    target_variant: HeaderText = setting(
        "Target variant", default="", help="Empty: SageMaker chooses by weight.", advanced=True, max_length=63
    )
    target_model: HeaderText = setting(
        "Target model",
        default="",
        help="The model's file, on an endpoint that serves many.",
        advanced=True,
        max_length=1024,
        placeholder="model.tar.gz",
    )
    content_type: HeaderText = setting(
        "Content type", default="", help="Empty: the shape's own.", advanced=True, max_length=200
    )
    accept: HeaderText = setting("Accept", default="", help="Empty: the shape's own.", advanced=True, max_length=200)

    def shape_for(self, embeds: bool) -> Shape:
        """A model for embeddings has the one shape that embeds, or a template."""
        if self.shape == OWN:
            return OwnTemplate(self.template) if self.template else NoTemplate()
        return SHAPES["hf-embeddings" if embeds else self.shape]
