"""A task's questions, each asked as it wants to be: by the letters, or by letting the model answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from inkling.evals.answers import Reply, answer_all
from inkling.evals.choices import choose_all
from inkling.infer.answer import CALCULATOR
from inkling.infer.sampling import SamplingSettings
from inkling.infer.tools import Tool
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.tasks.task import Question
from inkling.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Asking:
    """How models are asked. At temperature 0 the likeliest reply is taken, which further samples would only repeat."""

    max_new_tokens: int = 256
    samples: int = 1
    """of each question whose answer is generated"""
    temperature: float = 0.0
    seed: int = 1337
    tools: Mapping[str, Tool] | None = None
    """None: the calculator"""


def ask_all(
    model: GPT,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    how: Asking = Asking(),
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[Reply]]:
    """The replies to each question: one by its letters, else `how.samples`.

    What a sample draws depends on the seed, the question's place and the sample's number, and on no neighbour.
    """
    by_letters = [index for index, question in enumerate(questions) if question.letters]
    generated = [index for index, question in enumerate(questions) if not question.letters]
    replies: list[list[Reply]] = [[] for _ in questions]
    chosen = choose_all(model, tokenizer, [questions[index] for index in by_letters], progress)
    for index, reply in zip(by_letters, chosen, strict=True):
        replies[index] = [reply]
    said = answer_all(
        model,
        tokenizer,
        [questions[index].messages for index in generated for _ in range(how.samples)],
        how.max_new_tokens,
        CALCULATOR if how.tools is None else how.tools,
        progress,
        SamplingSettings(temperature=how.temperature, top_k=0),
        [seed_for("sample", how.seed, index, sample) for index in generated for sample in range(how.samples)],
    )
    for place, index in enumerate(generated):
        replies[index] = said[place * how.samples : (place + 1) * how.samples]
    return replies
