"""Our models for lm-evaluation-harness, which knows hundreds of tasks: its three questions, answered by our scorer and
our engine. https://github.com/EleutherAI/lm-evaluation-harness

    from inkling.evals.harness import harness_model
    lm_eval.simple_evaluate(model=harness_model(model, tokenizer), tasks=["hellaswag"])

A task's YAML may name Python functions, which the harness runs: use tasks that you trust.
"""

import importlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from inkling.errors import UserError
from inkling.evals.likelihood import Span, beginning, cropped, score_groups
from inkling.infer.engine import Engine, Request
from inkling.infer.sampling import SamplingSettings
from inkling.infer.textstream import TextStream
from inkling.model.gpt import GPT
from inkling.text.tokenizer import Tokenizer

MAX_NEW_TOKENS = 256  # of an answer, where a task sets none: the harness's own default


class Asked(Protocol):
    """A request of the harness: `args` is (context, continuation), (text,), or (context, how to generate)."""

    args: tuple[Any, ...]


class HarnessAnswers:
    """What the harness asks of a model. Texts in, numbers or texts out; each list is answered in its order."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, batch_size: int = 8) -> None:
        super().__init__()  # the harness's own LM, which is the next base in `harness_model`
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        # Models that begin every text with a mark get it; GPT-2, whose mark ends texts, does not, as elsewhere.
        self.before = beginning(tokenizer) if tokenizer.bos is not None else []

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name

    def loglikelihood(self, requests: Sequence[Asked]) -> list[tuple[float, bool]]:
        """(ln p(continuation | context), whether greedy decoding would say it). Equal contexts are read once.

        What is too long for the context loses its beginning. Without a mark to begin a text with (character and byte
        vocabularies) the first token of a continuation without a context has no prediction, and is not scored.
        """
        groups: dict[tuple[int, ...], list[tuple[int, Span]]] = {}
        for number, request in enumerate(requests):
            span = self._span(*request.args)
            groups.setdefault(tuple(span.ids[: span.start]), []).append((number, span))
        scored = self._score([[span for _, span in group] for group in groups.values()])
        found = [(0.0, True)] * len(requests)
        for group, scores in zip(groups.values(), scored, strict=True):
            for (number, _), (nats, is_greedy) in zip(group, scores, strict=True):
                found[number] = (-nats, is_greedy)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Asked]) -> list[float]:
        """ln p(text) of each text as one document, every token scored once, in windows of the whole context.

        The windows do not overlap, but for the last, which sees a whole context and scores what is left.
        """
        texts = [rolling_spans(self._text_ids(request.args[0]), self.model.config.block_size) for request in requests]
        scored = iter(self._score([[span] for spans in texts for span in spans]))
        return [-sum(next(scored)[0][0] for _ in spans) for spans in texts]

    def generate_until(self, requests: Sequence[Asked]) -> list[str]:
        """The text that continues each context, up to a stop text, a special token, or `max_gen_toks`.

        An answer gets half of the context at most; a prompt that then does not fit loses its beginning.
        """
        writers = [_Writer(self, number, *request.args) for number, request in enumerate(requests)]
        tokens = Engine(self.model, self.batch_size).stream([writer.request for writer in writers])
        for index, token in tokens:
            writers[index].take(token)
        return [writer.text + writer.stream.finish() for writer in writers]

    def _score(self, groups: Sequence[Sequence[Span]]) -> list[list[tuple[float, bool]]]:
        scored = score_groups(self.model, groups, self.batch_size)
        return [[(score.nats, score.is_greedy) for score in group] for group in scored]

    def _span(self, context: str, continuation: str) -> Span:
        stripped = context.rstrip()  # a space before a word is part of the word's token
        continuation = context[len(stripped) :] + continuation
        before = self.before if stripped else beginning(self.tokenizer)
        ids = [*before, *self.tokenizer.encode(stripped + continuation)]
        start = min(len(before) + len(self.tokenizer.encode(stripped)), len(ids) - 1)
        return cropped(Span(ids, max(1, start)), self.model.config.block_size + 1)

    def _text_ids(self, text: str) -> list[int]:
        return [*beginning(self.tokenizer), *self.tokenizer.encode(text)]


class _Writer:
    """One answer while it comes."""

    def __init__(self, asked: HarnessAnswers, number: int, context: str, how: Mapping[str, Any]) -> None:
        tokenizer, block_size = asked.tokenizer, asked.model.config.block_size
        until = how.get("until") or []
        self.stream = TextStream(tokenizer, [until] if isinstance(until, str) else until)
        self.ends = {*tokenizer.special_tokens.values(), *tokenizer.ends}
        self.text = ""
        ids = [*(asked.before or ([] if context else beginning(tokenizer))), *tokenizer.encode(context)]
        most = min(int(how.get("max_gen_toks", MAX_NEW_TOKENS)), max(1, block_size // 2))
        self.request = Request(ids[-max(1, block_size - most) :], most, _sampling(how), seed=number, hook=self._then)

    def take(self, token: int) -> None:
        if token not in self.ends:
            self.text += self.stream.push(token)

    def _then(self, new: Sequence[int]) -> Literal["continue", "stop"]:
        return "stop" if self.stream.stopped or new[-1] in self.ends else "continue"


def _sampling(how: Mapping[str, Any]) -> SamplingSettings:
    """Greedy, unless the task says how to draw."""
    temperature = float(how.get("temperature", 1.0 if how.get("do_sample") else 0.0))
    if not how.get("do_sample", temperature > 0):
        temperature = 0.0
    return SamplingSettings(temperature, int(how.get("top_k", 0)), float(how.get("top_p", 1.0)))


def rolling_spans(ids: Sequence[int], block_size: int) -> list[Span]:
    """Every token but the first scored once. A text of one token gives none."""
    found = []
    for done in range(0, len(ids) - 1, block_size):
        end = min(done + block_size, len(ids) - 1)  # the last token that is scored
        some = ids[max(0, end - block_size) : end + 1]
        found.append(Span(some, len(some) - (end - done)))
    return found


# --- the harness -----------------------------------------------------------------------------------------


def harness_model(model: GPT, tokenizer: Tokenizer, batch_size: int = 8) -> Any:
    """The model as the harness's own `LM`. Raises UserError where the harness is not installed."""
    base = _import_harness("lm_eval.api.model").LM
    return type("InklingLM", (HarnessAnswers, base), {})(model, tokenizer, batch_size)


def run_harness(lm: Any, task: str, include_path: str = "", limit: int = 0, seed: int = 1337) -> dict[str, Any]:
    """One task, tag or group of the harness: {task: {metric: value}}, as the harness reports it.

    `include_path` is a folder with YAML files of one's own tasks; `limit` bounds the questions of each (0: all).
    Raises UserError for a task that the harness does not know, or whose data cannot be had.
    """
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    manager = _manager_that_knows(task, include_path)
    try:
        seeds = {f"{of}_seed": seed for of in ("random", "numpy_random", "torch_random", "fewshot_random")}
        report = _import_harness("lm_eval").simple_evaluate(
            model=lm, tasks=[task], task_manager=manager, limit=limit or None, log_samples=False, **seeds
        )
    except (OSError, ConnectionError) as error:  # among them what its library for data sets raises offline
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"The data of {task} cannot be had: {first}", "Is there a network?") from None
    results: dict[str, Any] = report["results"]
    return results


def _manager_that_knows(task: str, include_path: str) -> Any:
    """The person's own tasks are looked through alone: the harness's own are thousands of YAML files."""
    if include_path and not Path(include_path).is_dir():
        raise UserError(f"There is no folder {include_path}.", "--include_path is one with YAML files of tasks.")
    for with_defaults in (False, True) if include_path else (True,):
        manager = _task_manager(include_path, with_defaults)
        if task in manager.all_tasks:
            return manager
    raise UserError(
        f"The harness has no task {task!r}{f', nor has {include_path}' if include_path else ''}.",
        "Its tasks are listed by: lm_eval ls tasks. --include_path=FOLDER adds your own.",
        status=2,
    )


@cache
def _task_manager(include_path: str, with_defaults: bool) -> Any:
    tasks = _import_harness("lm_eval.tasks")
    return tasks.TaskManager(include_path=include_path or None, include_defaults=with_defaults)


def _import_harness(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            "This needs the package lm_eval, which is not installed.", "Run: pip install 'inkling-lm[harness]'"
        ) from None
