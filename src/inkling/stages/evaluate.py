"""`inkling evaluate RUN`: ask a chat model questions and count the right answers, or measure any model."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkling.errors import UserError
from inkling.evals.asking import Asking, ask_all
from inkling.evals.chatcore import chatcore
from inkling.evals.passes import head_of, passes_as_json, passes_by_kind, rows_of
from inkling.evals.scores import HEAD, Graded, as_json, grade_all, mean_name, score_by_kind, table_rows
from inkling.files import write_atomic
from inkling.hub.weights import Weights
from inkling.infer.answer import CALCULATOR
from inkling.runtime import Runtime, RuntimeSettings, decide, running
from inkling.settings import Layer, build, flatten
from inkling.stages.bar import show_bar
from inkling.stages.measures import Measured, MeasureSettings, Subject, check_measures, measure, split_names
from inkling.stages.tables import show_table
from inkling.tasks import TaskSettings, find_tasks
from inkling.tasks.python_runner import WARNING, python_tool
from inkling.tasks.task import Question, Task
from inkling.text.conversation import can_chat
from inkling.text.messages import Message


@dataclass(frozen=True)
class EvaluateSettings:
    """evaluate"""

    tasks: str = "almanac"
    """what is asked, with commas between: names of tasks, chatcore for six of them, and .jsonl files of your own
    conversations; or measured: bpb, core, and harness:NAME for a task of lm-evaluation-harness"""
    max_questions: int = 100
    """questions of each kind, at most"""
    max_new_tokens: int = 256
    """tokens in an answer, at most"""
    samples: int = 1
    """answers to each question that is not one of letters. Several show pass@k, and need a temperature"""
    temperature: float = 0.0
    """0: the likeliest answer; above: drawn, the higher the more freely"""
    show: int = 3
    """wrong answers that are printed for each task, and right ones"""
    task: TaskSettings = TaskSettings()
    measure: MeasureSettings = MeasureSettings()
    runtime: RuntimeSettings = RuntimeSettings()


SETTINGS = EvaluateSettings
DESCRIPTION = """Ask a model questions and count the right answers: inkling evaluate RUN [--key=value ...]

  inkling evaluate demo
  inkling evaluate demo --max_questions=500 --show=10
  inkling evaluate demo --tasks=almanac,mine.jsonl --tables=my/tables
  inkling evaluate mychat --tasks=chatcore --allow_python       ARC, MMLU, GSM8K, HumanEval, spelling; one number
  inkling evaluate mychat --tasks=gsm8k --samples=8 --temperature=0.8      pass@1 to pass@8
  inkling evaluate mychat --tasks=mmlu --data_from=tasks        from files, where there is no network
  inkling evaluate demo --tasks=bpb --text=mine.txt             any model, taught to talk or not
  inkling evaluate gpt2 --tasks=core,harness:lambada_openai

RUN is a run's name below runs/, or its path. The model says what is likeliest, and may use its calculator; of
questions with a choice of answers the likeliest letter is taken. Scores by kind, settings and every answer are written
to RUN/evaluations/TASK.json. In a .jsonl file the last answer of each conversation is the right one. bpb is bits per
byte; core fetches its tasks unless --bundle names them.
--compile is taken and not used: the shapes change with every token."""


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    if len(positional) != 1:
        raise UserError("evaluate takes one RUN.", "For example: inkling evaluate demo", status=2)
    settings, _ = build(EvaluateSettings, [Layer("flag", flags)])
    main(positional[0], settings)


def main(run: str, settings: EvaluateSettings) -> dict[str, Any]:
    """Ask or measure, print and write the scores. `run` is a run's name or path.

    Returns by name every answer of each task (`Graded`), and what was measured (`Measured`).
    """
    from inkling.hub.load import find_weights, load_weights

    _check(settings)
    # Tasks and marks first: what cannot be asked is refused before the weights are loaded.
    measures, names = split_names(settings.tasks)
    tasks = find_tasks(names, settings.task) if names or not measures else []
    questions = {task.name: task.questions(settings.runtime.seed, settings.max_questions) for task in tasks}
    weights = find_weights(run)
    if tasks:
        _check_marks(run, weights)
    if settings.runtime.compile is True:
        print("--compile is not used: the shapes change with every token.", file=sys.stderr)
    runtime = decide(replace(settings.runtime, compile=False))
    with running(runtime):
        subject = Subject(run, weights, *load_weights(weights, device=runtime.device, dtype=runtime.dtype))
        measured = {name: _measure(name, subject, settings, runtime) for name in measures}
        answered = {task.name: _ask(task, questions[task.name], subject, settings, runtime) for task in tasks}
    core = chatcore(answered)
    if core is not None:
        print(core.in_words())
        _write("chatcore", subject, core.as_json(), settings, runtime)
    return measured | answered


def _measure(name: str, subject: Subject, settings: EvaluateSettings, runtime: Runtime) -> Measured:
    """One measure, printed and written by the first process."""
    began = time.perf_counter()
    measured = measure(name, subject, settings.measure, runtime)
    seconds = time.perf_counter() - began
    if runtime.is_main:
        title = f"{measured.title}: {subject.run} at step {subject.weights.step:,}, in {seconds:.1f} s"
        show_table(title, measured.rows, measured.head, strong=measured.strong)
        _write(name, subject, {"seconds": round(seconds, 3)} | measured.values, settings, runtime)
    return measured


def _ask(
    task: Task, asked: list[Question], subject: Subject, settings: EvaluateSettings, runtime: Runtime
) -> list[Graded]:
    """One task: its questions answered, graded, printed and written."""
    began = time.perf_counter()
    with show_bar(task.name, _answers_to(asked, settings)) as advance:
        replies = ask_all(subject.model, subject.tokenizer, asked, _how(settings), advance)
    tries = len(replies[0])
    graded = grade_all(
        task,
        [question for question in asked for _ in range(tries)],
        [reply for of_one in replies for reply in of_one],
    )
    seconds = time.perf_counter() - began
    _print(task.name, subject, graded, tries, seconds, settings.show)
    scores = as_json(graded) if tries == 1 else passes_as_json(graded, tries)
    _write(task.name, subject, {"seconds": round(seconds, 3)} | scores, settings, runtime)
    return graded


def _how(settings: EvaluateSettings) -> Asking:
    tools = {**CALCULATOR, "python": python_tool} if settings.task.allow_python else CALCULATOR
    return Asking(settings.max_new_tokens, settings.samples, settings.temperature, settings.runtime.seed, tools)


def _answers_to(questions: Sequence[Question], settings: EvaluateSettings) -> int:
    """How many there will be."""
    return sum(1 if question.letters else settings.samples for question in questions)


def _check_marks(run: str, weights: Weights) -> None:
    """Refuse to ask a model that was never taught to talk."""
    if not can_chat(weights.tokenizer()):
        raise UserError(
            f"{run} cannot be asked: its tokenizer has no marks for questions and answers, so it was never taught to.",
            f"Measure it: --tasks=bpb, or core. Or let it continue a text: inkling sample {run}",
        )


def _check(settings: EvaluateSettings) -> None:
    for name, least in {"max_questions": 1, "max_new_tokens": 1, "samples": 1, "temperature": 0, "show": 0}.items():
        value = getattr(settings, name)
        if not value >= least:
            raise UserError(f"{name}={value} must be at least {least}.", status=2)
    if settings.samples > 1 and settings.temperature == 0:
        raise UserError(
            f"samples={settings.samples} at temperature 0 would all be the same.", "Add --temperature=0.8, say.", 2
        )
    check_measures(settings.measure)
    if settings.task.allow_python:
        print(f"note: {WARNING}", file=sys.stderr)


# --- what is printed -------------------------------------------------------------------------------------


def _print(task: str, subject: Subject, graded: Sequence[Graded], tries: int, seconds: float, show: int) -> None:
    scores = score_by_kind(graded)
    times = f", {tries} times each," if tries > 1 else ""
    where = f"{subject.run} at step {subject.weights.step:,}"
    title = f"{task}: {where}, {len(graded) // tries:,} questions{times} in {seconds:.1f} s"
    if tries > 1:
        show_table(title, rows_of(passes_by_kind(graded, tries)), head_of(tries), strong=[mean_name(scores)])
    else:
        show_table(title, table_rows(scores), HEAD, strong=[mean_name(scores)])
    for end, what in {
        "cut": "answers were cut: they reached --max_new_tokens, or the end of the context",
        "too long": "questions did not fit the model's context, and count as wrong",
    }.items():
        count = sum(item.reply.end == end for item in graded)
        if count:
            print(f"({count:,} {what}.)")
    for is_right, what in ((False, "wrong"), (True, "right")):
        examples = _spread([item for item in graded if item.is_right == is_right], show)
        if examples:
            print(f"{what}, for example:")
        for item in examples:
            _print_example(item)


def _print_example(item: Graded) -> None:
    expected = " or ".join(item.question.expected)
    print(f"  {item.question.kind}: {_line(' / '.join(_said(message) for message in item.question.messages))}")
    print(f"    → {_line(item.reply.shown)}{f'   ({_line(expected)})' if expected and not item.is_right else ''}")


def _said(message: Message) -> str:
    return message.get("content") or ""


def _line(text: str, most: int = 200) -> str:
    """One short line, without what would steer a terminal."""
    words = " ".join(text.split())
    shown = words if len(words) <= most else f"{words[:most]} …"
    return "".join(character if character.isprintable() else "\ufffd" for character in shown)


def _spread(items: Sequence[Graded], most: int) -> list[Graded]:
    """At most so many of them, evenly from first to last, so that several kinds are among them."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


# --- what is written -------------------------------------------------------------------------------------


def _write(task: str, subject: Subject, scores: dict[str, Any], settings: EvaluateSettings, runtime: Runtime) -> None:
    """RUN/evaluations/TASK.json."""
    weights = subject.weights
    report: dict[str, Any] = {
        "task": task,
        "run": subject.run,
        "checkpoint": weights.path.name,
        "step": weights.step,
        "settings": flatten(settings) | {"device": runtime.device, "dtype": runtime.dtype},
        **scores,
    }
    is_checkpoint = weights.path.parent.name == "checkpoints"
    folder = (weights.path.parents[1] if is_checkpoint else weights.path) / "evaluations"
    folder.mkdir(exist_ok=True)
    path = Path(folder, f"{task.replace(':', '-')}.json")
    write_atomic(path, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    print(f"→ {path}\n")
