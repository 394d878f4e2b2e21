"""What RL learns from: the questions of a step, answers of the model as it is now, and what they were worth.

A step's batch is a function of (task, seed, step, weights): which questions it asks and with which random numbers each
answer is drawn depends on their places in the run alone, so a run that goes on draws what it would have drawn.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inkling.data.batches import BatchPlan
from inkling.errors import UserError
from inkling.evals.rollouts import Rollout, roll_out
from inkling.keyed import seed_for
from inkling.model.gpt import GPT
from inkling.runtime import Runtime
from inkling.tasks.task import Practice, Question, Task
from inkling.text.tokenizer import Tokenizer
from inkling.train.loop import Batch
from inkling.train.parallel import sum_over_ranks
from inkling.train.policy import Sample, advantages, has_gradient, policy_batch


@dataclass(frozen=True)
class TrialSettings:
    """questions and rewards"""

    task: str = "almanac"
    """what is practised: the name of a task, or a .jsonl file of your own questions and answers"""
    exam: str = ""
    """what is asked at evaluations; empty: the questions that the task keeps out of practice"""
    kinds: str = ""
    """the kinds of question, with commas between; empty: all that there are"""
    questions: int = 16
    """questions a step"""
    samples: int = 8
    """answers to each question, whose mean reward is what each is compared with"""
    max_new_tokens: int = 128
    """tokens in an answer, at most"""
    divide_by_std: bool = False
    """divide by the spread of the group's rewards, as GRPO first did; then a question that is nearly always right, or
    nearly always wrong, weighs as much as one that could go either way"""
    exam_questions: int = 100
    """questions of each kind in the exam, each answered `samples` times"""
    rows_at_once: int = 64
    """answers that go through the model at once when it learns; fewer take less memory"""


def check_trials(settings: TrialSettings) -> None:
    """Refuse numbers that make no group."""
    least = {"questions": 1, "samples": 2, "max_new_tokens": 1, "exam_questions": 1, "rows_at_once": 1}
    for name, minimum in least.items():
        value = getattr(settings, name)
        if value < minimum:
            why = " An answer is compared with the others to its question." if name == "samples" else ""
            raise UserError(f"{name}={value} must be at least {minimum}.{why}", status=2)


def plan_trials(settings: TrialSettings, block_size: int, runtime: Runtime) -> BatchPlan:
    """How the answers of a step are shared out: each rank asks whole questions."""
    if settings.questions % runtime.world_size:
        raise UserError(
            f"{settings.questions} questions a step cannot be shared by {runtime.world_size} processes.",
            f"Make questions a multiple of {runtime.world_size}.",
            status=2,
        )
    rows = settings.questions // runtime.world_size * settings.samples
    micro_steps = -(-rows // settings.rows_at_once)
    while rows % micro_steps:
        micro_steps += 1
    return BatchPlan(rows // micro_steps, micro_steps, runtime.rank, runtime.world_size, block_size)


def choose_kinds(task: Practice, kinds: str) -> tuple[str, ...]:
    """The kinds that are practised. Raises UserError for one that there is not."""
    chosen = tuple(kind.strip() for kind in kinds.split(",") if kind.strip()) or task.practised
    for kind in chosen:
        if kind not in task.practised:
            raise UserError(
                f"{task.name} has no practice in {kind!r}.", f"It has in: {', '.join(task.practised)}.", status=2
            )
    return chosen


@dataclass
class Trials:
    """Asks, grades, and makes batches of it, for one rank."""

    model: GPT
    tokenizer: Tokenizer
    task: Practice
    kinds: tuple[str, ...]
    settings: TrialSettings
    plan: BatchPlan
    runtime: Runtime
    seed: int
    step: int = -1
    """the step whose batches are at hand"""

    def micro_batch(self, first_row: int) -> Batch:
        """The batch that begins at this row of the run. Its step's answers are drawn when its first is asked for."""
        step, place = divmod(first_row, self.plan.rows_per_step)
        if step != self.step:
            self.batches, self._facts = self._try(step)
            self.step = step
        return self.batches[place // (self.plan.batch_size * self.plan.world_size)]

    def facts(self, step: int) -> dict[str, Any]:
        """What the row of this step in metrics.jsonl says of its answers, over all ranks."""
        assert step == self.step
        return self._facts

    def questions(self, step: int) -> range:
        """The numbers of this rank's questions, counted from the start of the run."""
        own = self.settings.questions // self.plan.world_size
        first = step * self.settings.questions + self.plan.rank * own
        return range(first, first + own)

    def _try(self, step: int) -> tuple[list[Batch], dict[str, Any]]:
        """Ask, grade, and lay what can be learned from in batches; with the facts of it."""
        began = time.perf_counter()
        asked, groups = self._ask(step)
        seconds = time.perf_counter() - began
        rewards = grade_groups(self.task, asked, groups)  # (G, S)
        learned = worth_learning(groups, rewards, self.settings.divide_by_std)
        counts = count(groups, rewards, learned, self.runtime)
        # The loop divides by the targets it sees. The tokens of dropped groups were drawn as well, and count: what is
        # left out would have added nothing to the sum, and saves the time of computing that.
        share = counts["learned"] / max(1.0, counts["drawn"])
        batches = in_batches([(sample, advantage * share) for sample, advantage in learned], self.plan.micro_steps)
        return batches, {
            "reward": counts["right"] / (self.settings.questions * self.settings.samples),
            "kept": int(counts["kept"]),
            "dropped": self.settings.questions - int(counts["kept"]),
            "length": counts["tokens"] / max(1.0, counts["answers"]),
            "sampled_tokens": int(counts["tokens"]),
            "sampling_ms": round(1000 * seconds, 3),
        }

    def _ask(self, step: int) -> tuple[list[Question], list[list[Rollout]]]:
        """This rank's questions of a step, and the answers to each."""
        numbers, samples = self.questions(step), range(self.settings.samples)
        asked = [self.task.practice(self.kinds[number % len(self.kinds)], self.seed, number) for number in numbers]
        seeds = [[seed_for("rl", self.seed, number, sample) for sample in samples] for number in numbers]
        dialogues = [question.messages for question in asked]
        return asked, roll_out(self.model, self.tokenizer, dialogues, seeds, self.settings.max_new_tokens)


def grade_groups(task: Task, asked: Sequence[Question], groups: Sequence[Sequence[Rollout]]) -> Tensor:
    """(G, S): 1 for a right answer, 0 for a wrong one, and for those that a question which did not fit never got."""
    size = max((len(group) for group in groups), default=0)
    rewards = torch.zeros(len(groups), max(1, size))
    for i, (question, group) in enumerate(zip(asked, groups, strict=True)):
        for j, rollout in enumerate(group):
            rewards[i, j] = float(task.grade(question, rollout.text))
    return rewards


def worth_learning(
    groups: Sequence[Sequence[Rollout]], rewards: Tensor, divide_by_std: bool
) -> list[tuple[Sample, float]]:
    """The answers of the groups whose rewards (G, S) differ, each with its advantage."""
    found = []
    by_group = zip(groups, has_gradient(rewards).tolist(), advantages(rewards, divide_by_std).tolist(), strict=True)
    for group, is_kept, by_answer in by_group:
        if is_kept:
            found += [(rollout.sample, value) for rollout, value in zip(group, by_answer, strict=True)]
    return found


def count(
    groups: Sequence[Sequence[Rollout]], rewards: Tensor, learned: Sequence[tuple[Sample, float]], runtime: Runtime
) -> dict[str, float]:
    """What a step consisted of, summed over the ranks."""
    answers = [rollout for group in groups for rollout in group]
    local: dict[str, float] = {
        "answers": len(answers),
        "right": float(rewards.sum()),
        "kept": int(has_gradient(rewards).sum()),
        "tokens": sum(len(rollout.new) for rollout in answers),
        "drawn": sum(sum(rollout.drawn) for rollout in answers),
        "learned": sum(sum(sample.drawn) for sample, _ in learned),
    }
    return dict(zip(local, sum_over_ranks(list(local.values()), runtime), strict=True))


def in_batches(learned: Sequence[tuple[Sample, float]], count: int) -> list[Batch]:
    """Answers and their weights in `count` batches, those of about equal length together, so that little is padded."""
    ordered = sorted(learned, key=lambda item: len(item[0].prompt) + len(item[0].new))
    size = -(-len(ordered) // count)
    parts = [ordered[i * size : (i + 1) * size] for i in range(count)]
    return [policy_batch([sample for sample, _ in part], [weight for _, weight in part]) for part in parts]


def sit_exam(
    model: GPT,
    tokenizer: Tokenizer,
    task: Task,
    questions: Sequence[Question],
    settings: TrialSettings,
    seed: int,
    runtime: Runtime,
) -> dict[str, float]:
    """Each question answered `samples` times: `pass@1`, the share of right answers, and `pass@K`, that of questions
    with a right one among K. The same questions and random numbers at every evaluation. Each rank asks its share."""
    own = range(runtime.rank, len(questions), runtime.world_size)
    asked = [questions[number] for number in own]
    seeds = [[seed_for("rl exam", seed, number, sample) for sample in range(settings.samples)] for number in own]
    groups = roll_out(model, tokenizer, [item.messages for item in asked], seeds, settings.max_new_tokens)
    rewards = grade_groups(task, asked, groups)
    local = [float(rewards.sum()) / settings.samples, float(rewards.amax(dim=1).sum()) if asked else 0.0]
    right, any_right = sum_over_ranks(local, runtime)
    return {"pass@1": right / len(questions), f"pass@{settings.samples}": any_right / len(questions)}
