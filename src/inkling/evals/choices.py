"""Questions whose answer is a letter: one pass of the model over the prompts, and the likeliest of the letters.

Nothing is generated, so a question costs one reading, and a model that knows the answer but says it in other words is
not marked down for that.
"""

from collections.abc import Callable, Sequence

import torch

from inkling.errors import UserError
from inkling.evals.answers import Reply
from inkling.infer.reading import alike
from inkling.model.gpt import GPT
from inkling.tasks.task import Question
from inkling.text.conversation import prompt
from inkling.text.tokenizer import Tokenizer


def choose_all(
    model: GPT,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Reply]:
    """The likeliest of each question's `letters`, in their order. `progress` is told how many have been answered.

    A question that does not fit the context is not answered. Raises UserError for a tokenizer that cannot lay out a
    conversation, or that cuts a letter into several tokens.
    """
    device = model.lm_head.weight.device
    asked: dict[tuple[int, ...], list[int]] = {}  # prompt → the questions that have it
    for index, question in enumerate(questions):
        asked.setdefault(tuple(prompt(question.messages, tokenizer)), []).append(index)
    letters = [torch.tensor(_letter_ids(question, tokenizer), device=device) for question in questions]
    replies = [Reply("", "", 0, "too long") for _ in questions]
    for ids, members in asked.items():
        if len(ids) > model.config.block_size:
            progress(len(members))
    for group in alike(ids for ids in asked if len(ids) <= model.config.block_size):
        for ids, logits in zip(group, _last_logits(model, group), strict=True):
            for index in asked[ids]:
                letter = questions[index].letters[int(logits[letters[index]].argmax())]
                replies[index] = Reply(letter, letter, 1, "said")
            progress(len(asked[ids]))
    return replies


@torch.inference_mode()
def _last_logits(model: GPT, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """What comes next after each prompt, (B, V) in float32. Shorter ones are filled up behind their end, where none
    of their own tokens looks."""
    device, longest = model.lm_head.weight.device, max(map(len, prompts))
    filled = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in prompts], device=device)  # (B, T)
    last = torch.tensor([len(ids) - 1 for ids in prompts], device=device)
    was_training = model.training
    model.eval()  # dropout is for training only
    x = model.hidden(filled)  # (B, T, C)
    model.train(was_training)
    return model.head(x[torch.arange(len(prompts), device=device), last]).float()


def _letter_ids(question: Question, tokenizer: Tokenizer) -> list[int]:
    cut = [tokenizer.encode(letter) for letter in question.letters]
    if any(len(ids) != 1 for ids in cut):
        raise UserError(
            f"This tokenizer has no single token for each of the letters {', '.join(question.letters)}.",
            "So the model cannot be asked by letters; ask it with a task whose answers are words.",
        )
    return [ids[0] for ids in cut]
