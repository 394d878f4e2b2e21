"""What clients may ask, in OpenAI's names. Fields that we do not know are ignored; those we know and do not do are
refused by name, because leaving them out would change the answer."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from inkling.infer.sampling import SamplingSettings, check_sampling
from inkling.serve.errors import ApiError
from inkling.serve.limits import LimitSettings

INT64 = 2**63

StopText = Annotated[str, Field(min_length=1, max_length=500)]
TokenIds = list[Annotated[int, Field(ge=0, lt=INT64)]]

# What each of these may be and change nothing.
NOT_DONE: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "audio": (None,),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
}


class StreamOptions(BaseModel):
    """How a stream is sent."""

    include_usage: bool = False


class Asked(BaseModel, extra="allow"):
    """What both kinds of completion have in common."""

    model: str | None = Field(None, max_length=1000, description="what /v1/models lists; may be left out")
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = Field(None, description="answers, drawn independently")
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = Field(None, description="the same seed, the same answer")
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = Field(
        None, description="the answer ends before any of these"
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = Field(None, description="0 always takes the likeliest token")
    top_p: float | None = None
    top_k: Annotated[int, Field(lt=INT64)] | None = Field(None, description="not OpenAI's; 0: off")
    min_p: float | None = Field(None, description="not OpenAI's; 0: off")
    repetition_penalty: float | None = Field(None, description="not OpenAI's; 1: off")

    def sampling(self, usual: SamplingSettings) -> SamplingSettings:
        """What is asked for, and for the rest what is usual. Raises UserError for what has no meaning."""
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        # A client that speaks of temperature or top_p only, as OpenAI's do, expects nothing else to cut.
        if "top_k" not in given and given.keys() & {"temperature", "top_p"}:
            given["top_k"] = 0
        settings = SamplingSettings(**{name: getattr(usual, name) for name in names} | given)
        check_sampling(settings)
        return settings

    @property
    def stops(self) -> list[str]:
        """The stop texts."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self, name: str, limits: LimitSettings) -> None:
        """Refuse another model's name, and what this server does not do."""
        if self.model is not None and self.model != name:
            raise ApiError(404, f"There is no model {self.model!r} here, but {name!r}.", "model", "model_not_found")
        for field, harmless in NOT_DONE.items():
            if (self.model_extra or {}).get(field) not in harmless:
                raise ApiError(400, f"{field} is not done by this server. Leave it out.", field, "unsupported")
        if self.max_tokens is not None and self.max_tokens > limits.max_tokens:
            raise ApiError(
                400, f"max_tokens={self.max_tokens} is more than this server's {limits.max_tokens}.", "max_tokens"
            )


class CompletionRequest(Asked):
    """A text to go on with."""

    prompt: str | TokenIds | list[str] | list[TokenIds]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(None, description="so many alternatives to each token")


class TextPart(BaseModel):
    """A part of a message."""

    type: Literal["text"]
    text: str


class CalledFunction(BaseModel):
    """What a tool was asked: `arguments` is JSON within JSON."""

    name: str
    arguments: str


class Call(BaseModel):
    """A use of a tool."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """In the form that the whole house uses."""
        content = self.content
        if isinstance(content, list):
            content = "".join(part.text for part in content)
        message: dict[str, Any] = {"role": "system" if self.role == "developer" else self.role, "content": content}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message


class ToolFunction(BaseModel):
    """The name is all that counts: the server has its own tools."""

    name: str


class OfferedTool(BaseModel):
    """A tool that the model may use."""

    type: Literal["function"]
    function: ToolFunction


class ChatRequest(Asked):
    """A conversation to answer."""

    messages: list[ChatMessage] = Field(min_length=1)
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[OfferedTool] | None = Field(
        None, description="calculator, which the server itself runs; left out: all tools there are; []: none"
    )
    tool_choice: Literal["none", "auto"] | None = None

    def tool_names(self, known: set[str]) -> set[str]:
        """The tools that the model may use. Raises ApiError for one that the server does not have."""
        if self.tool_choice == "none":
            return set()
        if self.tools is None:
            return known
        names = {tool.function.name for tool in self.tools}
        if names - known:
            message = f"There is no tool {min(names - known)!r}: the server runs its own, which are {', '.join(known)}."
            raise ApiError(400, message, "tools", "unsupported")
        return names

    @property
    def alternatives(self) -> int | None:
        """How many tokens to name beside each drawn one; None: not even that one."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TokenizeRequest(BaseModel):
    """A text to cut into tokens, or tokens to make a text of."""

    text: str | None = None
    tokens: TokenIds | None = None
