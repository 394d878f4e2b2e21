"""The endpoints, as OpenAI's clients know them."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from inkling.infer.answer import CALCULATOR, Answer, Continuation, ask
from inkling.infer.engine import sample_seed
from inkling.infer.fit import fit_prompt
from inkling.infer.request import check_request
from inkling.infer.sampling import SamplingSettings
from inkling.serve.choice import Choice
from inkling.serve.errors import ApiError
from inkling.serve.exchange import Exchange, answer
from inkling.serve.limits import LimitSettings
from inkling.serve.replies import Replies
from inkling.serve.scheduler import Scheduler
from inkling.serve.schemas import Asked, ChatRequest, CompletionRequest, TokenizeRequest
from inkling.serve.served import Served

# As in the terminal: a question has right answers, a story's beginning has many good ends.
CHAT_SAMPLING = SamplingSettings(temperature=0.6, top_k=50)
TEXT_SAMPLING = SamplingSettings()
CHAT_TOKENS_USUAL, TEXT_TOKENS_USUAL = 512, 200

REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"description": "Refused: an error in OpenAI's shape."}}


class Api:
    """What the endpoints share. Each method below is one of them."""

    def __init__(self, served: Served, scheduler: Scheduler, limits: LimitSettings) -> None:
        self.served, self.scheduler, self.limits = served, scheduler, limits
        self.started = int(time.time())

    def router(self) -> APIRouter:
        """The routes below /v1."""
        router = APIRouter(prefix="/v1", responses=REFUSALS)
        router.post("/chat/completions", summary="Answer a conversation", response_model=None)(self.chat)
        router.post("/completions", summary="Go on with a text", response_model=None)(self.complete)
        router.get("/models", summary="What is served")(self.models)
        router.get("/models/{name:path}", summary="One model")(self.model)
        router.post("/tokenize", summary="Text to tokens, or tokens to text", response_model=None)(self.tokenize)
        return router

    # --- endpoints ---------------------------------------------------------------------------------------

    async def chat(self, asked: ChatRequest, request: Request) -> Response:
        """The next message of the assistant."""
        asked.check(self.served.name, self.limits)
        if not self.served.can_chat:
            raise ApiError(
                400,
                f"{self.served.name} was never taught to chat: it goes on with texts. Use /v1/completions.",
                code="cannot_chat",
            )
        count, budget = self._count(asked, 1), asked.max_completion_tokens or asked.max_tokens or CHAT_TOKENS_USUAL
        if budget > self.limits.max_tokens:
            raise ApiError(
                400, f"More than {self.limits.max_tokens} new tokens are not given.", "max_completion_tokens"
            )
        messages = [message.plain() for message in asked.messages]
        if len(messages) > self.limits.max_messages:
            raise ApiError(400, f"More than {self.limits.max_messages} messages.", "messages", "too_many_messages")
        self._check_length(sum(len(message["content"] or "") for message in messages), "messages")
        tools = {name: CALCULATOR[name] for name in asked.tool_names(set(CALCULATOR))}
        tokenizer, context = self.served.tokenizer, self.served.model.config.block_size
        forgotten, ids = await run_in_threadpool(fit_prompt, messages, tokenizer, context, budget)
        calls_before = sum(message["role"] == "tool" for message in messages)
        voices = [Answer(tokenizer, asked.stops, tools, calls_before) for _ in range(count)]
        return await self._answer(
            asked, request, voices, [ids] * count, min(budget, context - len(ids)), asked.alternatives, forgotten
        )

    async def complete(self, asked: CompletionRequest, request: Request) -> Response:
        """What follows on a text, as this model writes it."""
        asked.check(self.served.name, self.limits)
        prompts = await run_in_threadpool(self._prompts, asked)
        count = self._count(asked, len(prompts))
        voices = [Continuation(self.served.tokenizer, asked.stops) for _ in range(count)]
        ids = [prompt for prompt in prompts for _ in range(count // len(prompts))]
        budget = asked.max_tokens or min(TEXT_TOKENS_USUAL, self.limits.max_tokens)
        return await self._answer(asked, request, voices, ids, budget, asked.logprobs, 0)

    async def models(self) -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [self._described()]}

    async def model(self, name: str) -> dict[str, Any]:
        """The same, by name."""
        if name != self.served.name:
            raise ApiError(
                404, f"There is no model {name!r} here, but {self.served.name!r}.", "model", "model_not_found"
            )
        return self._described()

    async def tokenize(self, asked: TokenizeRequest) -> Response:
        """The ids of `text` and what each stands for; or the text of `tokens`."""
        tokenizer = self.served.tokenizer
        if (asked.text is None) == (asked.tokens is None):
            raise ApiError(400, "Give either text or tokens.", "text")
        self._check_length(len(asked.text or asked.tokens or ""), "text" if asked.text is not None else "tokens")
        ids = await run_in_threadpool(tokenizer.encode, asked.text) if asked.text is not None else asked.tokens
        assert ids is not None
        self._check_ids(ids)
        names = {special: name for name, special in tokenizer.special_tokens.items()}
        pieces = [names.get(i) or tokenizer.decode([i]) for i in ids]
        return JSONResponse({"tokens": ids, "count": len(ids), "pieces": pieces, "text": tokenizer.decode(ids)})

    # --- their steps -------------------------------------------------------------------------------------

    async def _answer(
        self,
        asked: Asked,
        request: Request,
        voices: Sequence[Answer | Continuation],
        ids: Sequence[list[int]],
        budget: int,
        alternatives: int | None,
        forgotten: int,
    ) -> Response:
        is_chat = isinstance(asked, ChatRequest)
        sampling = asked.sampling(CHAT_SAMPLING if is_chat else TEXT_SAMPLING)
        seed = asked.seed if asked.seed is not None else secrets.randbits(62)
        exchange = Exchange(self.scheduler)
        special = set(self.served.tokenizer.special_tokens.values())
        choices = []
        for i, (voice, prompt) in enumerate(zip(voices, ids, strict=True)):
            # The first answer to a prompt is what `inkling sample` says first with this seed.
            sample = i % (len(voices) // len({id(prompt) for prompt in ids}))
            wanted = ask(voice, prompt, budget, sampling, sample_seed(seed, sample), alternatives)
            check_request(wanted, self.served.model.config.vocab_size)
            choices.append(Choice(i, voice, wanted, special, exchange.send))
        head = {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": self.served.name,
        }
        exchange.begin(choices, self.limits.max_seconds)
        replies = Replies(is_chat, self.served.tokenizer, head, forgotten)
        return await answer(exchange, replies, request, asked.stream, asked.wants_usage)

    def _prompts(self, asked: CompletionRequest) -> list[list[int]]:
        """The ids of each prompt."""
        prompt: Any = asked.prompt
        several = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
        self._check_length(sum(map(len, several)), "prompt")
        tokenizer, context = self.served.tokenizer, self.served.model.config.block_size
        prefix = tokenizer.prefix
        found = [[*prefix, *tokenizer.encode(text)] if isinstance(text, str) else list(text) for text in several]
        for ids in found:
            self._check_ids(ids)
            if len(ids) > context:
                message = f"The prompt has {len(ids)} tokens, and the model sees {context} at once."
                raise ApiError(400, message, "prompt", "context_length_exceeded")
        return found

    def _count(self, asked: Asked, prompts: int) -> int:
        """How many answers there will be."""
        count = (asked.n or 1) * prompts
        if count > self.limits.max_choices:
            raise ApiError(400, f"{count} answers to one request are more than {self.limits.max_choices}.", "n")
        return count

    def _check_length(self, characters: int, param: str) -> None:
        if characters > self.limits.max_characters:
            message = f"{characters:,} characters are more than {self.limits.max_characters:,}."
            raise ApiError(400, message, param, "context_length_exceeded")

    def _check_ids(self, ids: Sequence[int]) -> None:
        vocab_size = min(self.served.tokenizer.vocab_size, self.served.model.config.vocab_size)
        outside = next((token for token in ids if not 0 <= token < vocab_size), None)
        if outside is not None:
            raise ApiError(400, f"Token {outside} is not in the vocabulary of {vocab_size}.", "tokens")

    def _described(self) -> dict[str, Any]:
        return {
            "id": self.served.name,
            "object": "model",
            "created": self.started,
            "owned_by": "inkling",
            "context": self.served.model.config.block_size,
            "can_chat": self.served.can_chat,
        }
