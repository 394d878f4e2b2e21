"""inkling rl: a model that talks gets better at what can be checked, by trying. The one loop, with other batches."""

from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from inkling.errors import UserError, is_out_of_memory
from inkling.hub.load import find_weights
from inkling.hub.weights import Weights
from inkling.model.cost import parameters_by_part
from inkling.runtime import Runtime, decide, running
from inkling.settings import flatten
from inkling.stages.learner import describe_parent, new_learner, new_model, restore, rewind
from inkling.stages.rl_settings import RLSettings, as_training, compose
from inkling.stages.tables import show_table
from inkling.stages.train import rates, state_of
from inkling.stages.train_settings import TrainSettings, settle
from inkling.stages.trials import Trials, check_trials, choose_kinds, plan_trials, sit_exam
from inkling.tasks import find_task
from inkling.tasks.jsonl import JsonlTask
from inkling.tasks.task import Practice, Question, Task
from inkling.text.conversation import can_chat
from inkling.train.checkpoint import load_latest, save_checkpoint, save_snapshot
from inkling.train.loop import Learner, check_loop, train
from inkling.train.optim import check_optimizer, optimizer_tensors
from inkling.train.parallel import wait_for_all
from inkling.train.progress import Progress, clock, read_metrics
from inkling.train.runfolder import CommandLog, create_run, held, refuse_existing, write_resolved
from inkling.train.schedule import check_schedule
from inkling.train.trackers import check_trackers, open_trackers

SETTINGS = RLSettings
DESCRIPTION = """Let a model that talks practise what can be checked: inkling rl RUN [--key=value ...]

  inkling rl chatbot --kinds=spelling                      → runs/chatbot-rl
  inkling rl chatbot --task=almanac --kinds=arithmetic,letter_count --max_iters=200
  inkling rl chatbot --task=mine.jsonl --exam=held.jsonl   your own questions, and others that are only asked
  inkling rl mychat --task=gsm8k --max_new_tokens=256      word problems from the hub, with the calculator
  inkling rl --out_dir=runs/chatbot-rl --resume            go on with it

Each step asks some questions, draws several answers to each, and makes those that are right likelier than the others to
the same question. What tools say is not learned. Steps and exams draw with temperature 1, and nothing is cut off: the
distribution that is trained is the one that answers. --compile is taken and not used: shapes change at every step."""


class RewardProgress(Progress):
    """The bar and lines of a training that is led by its reward."""

    leading, evaluated = "reward", "pass@1"

    def show_evaluation(self, row: dict[str, Any]) -> None:
        """What the exam has found, in a line."""
        if self.bar is not None:
            self.bar.update(self.task, last=f"{row['pass@1']:.4f}")
        found = ", ".join(f"{name} {value:.1%}" for name, value in row.items() if name.startswith("pass@"))
        self.say(f"step {row['step']}: {found}, {clock(row['seconds'])} of training")


def command(positional: list[str], flags: dict[str, str]) -> None:
    """What the command line calls."""
    settings, origins, given = compose(positional, flags)
    ended = main(settings, origins, given)
    if ended == "interrupted":
        hint = f"Go on with: inkling rl --out_dir={settings.run.out_dir} --resume"
        raise UserError("Interrupted; the checkpoint is saved.", hint, status=130)


def main(settings: RLSettings, origins: dict[str, str] | None = None, given: dict[str, Any] | None = None) -> str:
    """Practise, with the settings that `compose` makes; returns "done", "out of time" or "interrupted"."""
    plain = as_training(settings)
    check_trials(settings.trials)
    check_loop(plain.loop)
    check_schedule(settings.schedule)
    check_optimizer(settings.optimizer)
    run, resuming = Path(settings.run.out_dir), settings.run.resume
    task, exam, questions = find_questions(settings)
    parent = find_parent(settings, run)
    runtime = decide(replace(settings.runtime, compile=False))
    if runtime.is_main:
        check_trackers(settings.trackers)
        if not resuming:
            refuse_existing(run)
    try:
        with held(run) if runtime.is_main else nullcontext(), running(runtime):
            return practise(settings, origins or {}, given or {}, parent, task, exam, questions, runtime)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "There is not enough memory for this.",
            f"Use --rows_at_once={max(1, settings.trials.rows_at_once // 2)} (the same steps in smaller pieces), "
            "fewer --questions or --samples, or a smaller --max_new_tokens.",
        ) from None


def practise(
    settings: RLSettings,
    origins: dict[str, str],
    given: dict[str, Any],
    parent: Weights,
    task: Practice,
    exam: Task,
    questions: list[Question],
    runtime: Runtime,
) -> str:
    """Build the model and what trains it, bring it to where the run stands, and go."""
    run, resuming = Path(settings.run.out_dir), settings.run.resume
    config = replace(parent.config, dropout=0.0)  # what is trained must be what has answered
    plan = plan_trials(settings.trials, config.block_size, runtime)
    plain = settle(as_training(settings), config.filled(), runtime, plan)
    settings = replace(settings, schedule=plain.schedule, runtime=plain.runtime)
    resolved = flatten(settings) | asdict(plain.model)
    if not resuming and runtime.is_main:
        described = describe_parent(plain, parent)
        create_run(run, given, resolved, origins, tokenizer_file(parent), described)
    model = new_model(config, plain, runtime, parent)
    learner = new_learner(model, plain, runtime)
    if resuming:
        restore(learner, run, None, runtime)
    kinds, seed = choose_kinds(task, settings.trials.kinds), settings.runtime.seed
    trials = Trials(model, parent.tokenizer(), task, kinds, settings.trials, plan, runtime, seed)
    describe(learner, settings, trials, questions, origins)
    if resuming and runtime.is_main:
        rewind(run, learner.step)
        write_resolved(run, resolved, origins)
    return run_loop(learner, settings, plain, trials, exam, questions, run)


def run_loop(
    learner: Learner,
    settings: RLSettings,
    plain: TrainSettings,
    trials: Trials,
    exam: Task,
    questions: list[Question],
    run: Path,
) -> str:
    """Hand the one loop its plain functions, and keep the run's books around it."""
    runtime, plan, loop, seed = trials.runtime, trials.plan, plain.loop, settings.runtime.seed
    if learner.step >= loop.max_iters:
        if runtime.is_main:
            print(f"The run {run} has already done its {learner.step} steps. A larger --max_iters goes on.")
        return "done"
    trackers = open_trackers(settings.trackers, run, learner.step, flatten(settings)) if runtime.is_main else None
    log = CommandLog(run, runtime) if runtime.is_main else None
    metrics = run / "metrics.jsonl"
    progress = RewardProgress(metrics, loop.max_iters, learner.step, loop.log_interval, runtime.is_main, trackers)
    sha256 = trials.tokenizer.sha256()

    def evaluate() -> dict[str, float]:
        return sit_exam(learner.model, trials.tokenizer, exam, questions, settings.trials, seed, runtime)

    def save(row: dict[str, Any], final: bool) -> None:
        """Every one that is asked for: no exam decides which to keep. All ranks leave together."""
        if runtime.is_main:
            state = state_of(learner, sha256) | {key: row[key] for key in ("reward", "pass@1") if key in row}
            weights = dict(learner.model.named_parameters())
            moments = optimizer_tensors(learner.model, learner.optimizers)
            progress.say(f"saved {save_checkpoint(run, state, weights, moments, loop.keep_last)}")
        wait_for_all(runtime)

    def snapshot() -> None:
        if runtime.is_main:
            save_snapshot(run, state_of(learner, sha256), dict(learner.model.named_parameters()))

    ended = "failed"
    try:
        if not learner.step:
            first = {"step": 0, "tokens": 0, "seconds": 0.0, **evaluate()}
            if runtime.is_main and not read_metrics(metrics):
                progress.record(first)
            progress.show_evaluation(first)
        ended = train(
            learner,
            loop,
            plan,
            runtime,
            seed,
            settings.optimizer.grad_clip,
            set_rates=rates(learner, plain),
            micro_batch=trials.micro_batch,
            evaluate=evaluate,
            save=save,
            snapshot=snapshot,
            progress=progress,
            facts=trials.facts,
        )
    finally:
        progress.close(failed=ended == "failed")
        if log is not None:
            with suppress(OSError):  # what ended the run, a full disk say, is the better message
                log.end(ended, learner.step)
    if ended != "interrupted":
        progress.say(f"{ended}: {learner.step} steps → {run}")
        progress.say(f"next: inkling evaluate {run}")
    return ended


# --- before the loop ---------------------------------------------------------------------------------------


def find_questions(settings: RLSettings) -> tuple[Practice, Task, list[Question]]:
    """(what is practised, who asks the exam, its questions). Raises UserError where there is nothing to practise."""
    trials = settings.trials
    task = find_task(trials.task, settings.tasks)
    if not isinstance(task, Practice):
        raise UserError(
            f"The task {task.name} has no questions to practise on, only those of its exam.",
            "Use another, such as almanac, spelling or gsm8k, or a .jsonl file of your own questions and answers.",
            status=2,
        )
    kinds = choose_kinds(task, trials.kinds)
    if trials.exam:
        exam = find_task(trials.exam, settings.tasks)
        return task, exam, exam.questions(settings.runtime.seed, trials.exam_questions)
    if isinstance(task, JsonlTask):
        raise UserError(
            f"All questions of {trials.task} are practised, so it has none left for an exam.",
            "Name others: --exam=HELD.jsonl, or --exam=almanac.",
            status=2,
        )
    asked = task.questions(settings.runtime.seed, trials.exam_questions)
    return task, task, [question for question in asked if question.kind in kinds]


def find_parent(settings: RLSettings, run: Path) -> Weights:
    """The weights to begin with: RUN's, or those of the run that goes on. They must speak in conversations."""
    goes_on = settings.run.resume and load_latest(run) is not None
    parent = find_weights(run if goes_on else settings.run.init_from)
    if not can_chat(parent.tokenizer()):
        raise UserError(
            f"{settings.run.init_from} cannot be asked: its tokenizer has no marks for questions and answers, so it "
            "was never taught to.",
            "Teach it first: inkling sft RUN --dataset=CONVERSATIONS",
        )
    return parent


def tokenizer_file(parent: Weights) -> Path:
    """Where the tokenizer of these weights lies."""
    beside = parent.path / "tokenizer.json"
    return beside if beside.is_file() else parent.path.parents[1] / "tokenizer.json"


def describe(
    learner: Learner, settings: RLSettings, trials: Trials, questions: list[Question], origins: dict[str, str]
) -> None:
    """What is about to happen, in a few lines."""
    if not trials.runtime.is_main:
        return
    own, plan, flat = settings.trials, trials.plan, flatten(settings)
    given = [[key, f"{flat[key]}", origin] for key, origin in origins.items() if origin not in ("default", "rl")]
    show_table(f"practising {settings.run.init_from}", sorted(given), head=["setting", "value", "from"])
    print(f"task     {trials.task.name}: {', '.join(trials.kinds)}; the exam asks {len(questions):,} other questions")
    print(f"model    {sum(parameters_by_part(learner.model.config).values()):,} parameters")
    print(
        f"batch    {own.questions} questions a step, {own.samples} answers to each = {plan.micro_steps} micro-steps × "
        f"{plan.batch_size} answers × {plan.world_size} processes"
    )
    for reason in trials.runtime.reasons:
        print(f"machine  {reason}")
