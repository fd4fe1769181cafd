"""A server that copies OpenAI's dialect, as vLLM does: more sampling fields, any model name, an optional key."""

from typing import Annotated, Any

from pydantic import Field

from tests.upstream.openai import Chat, Completion, Image, OpenAI, Strict, Texty
from tests.upstream.wire import Bill, Plan, Whole, dump, pieces


class WiderChat(Chat):
    top_k: int | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None


class WiderCompletion(Completion):
    top_k: int | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None


class WiderImage(Image):
    seed: int | None = None
    steps: int | None = None
    negative_prompt: str | None = None


class Rerank(Strict):
    model: str
    query: Texty
    documents: Annotated[list[str], Field(min_length=1, max_length=1000)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None


class Compatible(OpenAI):
    prefixes = ("",)
    models = ("local-chat", "local-embed")
    key_optional = True
    chat = WiderChat
    completion = WiderCompletion
    image = WiderImage

    def routes(self) -> dict[str, tuple[type[Any], Any]]:
        return {**super().routes(), "/v1/rerank": (Rerank, self._rerank)}

    def _rerank(self, body: Rerank, plan: Plan) -> Whole:
        """The share of the query's words that a document has; in the caller's order, as some servers answer."""
        words = set(body.query.lower().split())
        scores = [len(words & set(text.lower().split())) / len(words) for text in body.documents]
        results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
        tokens = sum(len(pieces(text)) for text in (body.query, *body.documents))
        best = sorted(results, key=lambda result: -result["relevance_score"])[: body.top_n]
        kept = [result for result in results if result in best]
        answer = {"id": plan.call_id, "model": plan.model or body.model, "results": kept}
        return Whole(200, dump(answer | {"usage": {"total_tokens": tokens}}), bill=Bill(tokens))
