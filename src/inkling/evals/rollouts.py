"""Answers drawn, not chosen: several to each dialogue, all in one batch, with a note of which tokens the model drew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inkling.evals.answers import rows_for
from inkling.infer.answer import CALCULATOR, Answer, ask
from inkling.infer.engine import Engine, Request
from inkling.infer.fit import TooLong, fit_prompt
from inkling.infer.sampling import SamplingSettings
from inkling.infer.tools import Tool
from inkling.model.gpt import GPT
from inkling.text.messages import Message
from inkling.text.tokenizer import Tokenizer
from inkling.train.policy import Sample

# The policy itself: what is learned from must be drawn from what is trained, and a sharpened or cut distribution is
# another one.
AS_IT_IS = SamplingSettings(temperature=1.0, top_k=0)


@dataclass
class Rollout:
    """One answer while it comes, and when it has come."""

    answer: Answer
    prompt: list[int]
    text: str = ""
    """the words, without what was asked of tools: what is graded"""
    new: list[int] = field(default_factory=list)
    drawn: list[bool] = field(default_factory=list)
    forced: int = 0
    """tokens of a tool's result that are still to come"""

    def take(self, token: int) -> None:
        """The next token."""
        self.new.append(token)
        self.drawn.append(not self.forced)
        for event in self.answer.take(token):
            self.text += event if isinstance(event, str) else ""
        if self.forced:
            self.forced -= 1
        elif isinstance(self.answer.then, list):
            self.forced = len(self.answer.then)

    def finish(self) -> None:
        """No token follows."""
        self.text += "".join(event for event in self.answer.finish() if isinstance(event, str))

    @property
    def sample(self) -> Sample:
        """What is learned from."""
        return Sample(self.prompt, self.new, self.drawn)


def roll_out(
    model: GPT,
    tokenizer: Tokenizer,
    dialogues: Sequence[Sequence[Message]],
    seeds: Sequence[Sequence[int]],
    max_new_tokens: int,
    tools: Mapping[str, Tool] = CALCULATOR,
) -> list[list[Rollout]]:
    """For each dialogue an answer for each of its seeds, drawn independently of all others from the first token on.

    A dialogue that does not fit the context gets none. Raises UserError for a tokenizer without marks, and for
    messages that are no conversation.
    """
    context = model.config.block_size
    found: list[list[Rollout]] = []
    requests: list[Request] = []
    for messages, own in zip(dialogues, seeds, strict=True):
        group: list[Rollout] = []
        found.append(group)
        try:
            _, ids = fit_prompt(messages, tokenizer, context, max_new_tokens)
        except TooLong:  # one question among thousands
            continue
        budget = min(max_new_tokens, context - len(ids))
        for seed in own:
            rollout = Rollout(Answer(tokenizer, tools=tools), ids)
            group.append(rollout)
            requests.append(ask(rollout.answer, ids, budget, AS_IT_IS, seed))
    flat = [rollout for group in found for rollout in group]
    for index, token in Engine(model, rows_for(model.config, requests)).stream(requests):
        flat[index].take(token)
    for rollout in flat:
        rollout.finish()
    return found
