"""A chat model, an LLM or an embedding class of LangChain, run in a process of ours."""

from collections.abc import Sequence
from typing import Literal

from connections.providers.calls import Mode, ModelInfo
from connections.providers.custom_class import ClassSettings, CustomClass
from connections.providers.parameters import ParameterTable
from connections.providers.settings import setting


class LangChain(CustomClass):
    kind = "langchain"
    label = "LangChain class"
    summary = "Any chat model, LLM or embedding class of an installed LangChain package."
    mark = "langchain"
    order = 40
    engine = "langchain"
    docs_url = "https://docs.langchain.com/oss/python/integrations/chat"
    parameters = ParameterTable.of(
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "tools",
        "tool_choice",
        "encoding_format",
    )

    class Settings(ClassSettings):
        serves: Literal["chat", "completion", "embedding"] = setting(
            "Kind of class",
            default="chat",
            help="chat: a BaseChatModel. completion: a BaseLLM. embedding: an Embeddings class.",
        )

    settings: Settings

    def offered(self) -> Sequence[ModelInfo]:
        return [ModelInfo(self.model_id, Mode(self.settings.serves))]
