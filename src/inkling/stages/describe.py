"""What the person is told about a training: what is about to happen, and what to lower when it does not fit."""

from inkling.data.batches import BatchPlan
from inkling.data.mixture import Mixture
from inkling.errors import UserError
from inkling.model.config import GPTConfig
from inkling.model.cost import activation_peak, flops_per_token, parameters_by_part, training_bytes
from inkling.runtime import Runtime, free_memory_bytes
from inkling.settings import flatten
from inkling.stages.tables import show_table
from inkling.stages.train_settings import DIAL, TrainSettings
from inkling.train.loop import Learner


def describe(
    learner: Learner,
    settings: TrainSettings,
    plan: BatchPlan,
    data: Mixture,
    runtime: Runtime,
    origins: dict[str, str],
) -> None:
    """What is about to happen, in a few lines."""
    if not runtime.is_main:
        return
    describe_dial(settings, origins)
    config = learner.model.config
    parts = {name: n for name, n in parameters_by_part(config).items() if n}
    print(
        f"data     {data.describe}: {sum(len(part.train) for part in data.parts):,} training and "
        f"{sum(len(part.val) for part in data.parts):,} validation tokens, vocabulary {config.vocab_size:,}"
    )
    print(
        f"model    {config.preset}, {learner.model.num_params(False):,} parameters: "
        + ", ".join(f"{name} {n:,}" for name, n in parts.items())
    )
    print(
        f"batch    {plan.tokens_per_step:,} tokens a step = {plan.batch_size} rows × {plan.block_size} tokens "
        f"× {plan.micro_steps} micro-steps × {plan.world_size} processes"
    )
    flops = flops_per_token(config) * plan.tokens_per_step
    print(f"work     {settings.loop.max_iters:,} steps of {flops / 1e9:,.1f} GFLOP")
    print(f"memory   {describe_memory(config, settings, runtime)}")
    for reason in runtime.reasons:
        print(f"machine  {reason}")


def describe_dial(settings: TrainSettings, origins: dict[str, str]) -> None:
    """A table of what the depth gave, and why."""
    flat = flatten(settings)
    rows = [[key, f"{flat[key]:,}", why.removeprefix(DIAL)] for key, why in origins.items() if why.startswith(DIAL)]
    if rows:
        show_table(f"the dial at depth {settings.dial.depth}", rows)


def describe_memory(config: GPTConfig, settings: TrainSettings, runtime: Runtime) -> str:
    """What training is reckoned to take, in words, with a warning when there is less."""
    weight, number = (8, 8) if runtime.dtype == "float64" else (4, runtime.torch_dtype.itemsize)
    fixed = sum(training_bytes(config, settings.optimizer.optimizer, weight).values())
    rows, recompute = settings.data.batch_size, settings.loop.recompute
    passing = activation_peak(config, rows, number, recompute, runtime.device_type)
    here = free_memory_bytes(runtime)
    text = f"about {gibibytes(fixed)} of weights, gradients and optimizer, {gibibytes(passing)} of activations"
    if fixed + passing > here:
        text += f"; only {gibibytes(here)} are free: this may fail, or swap. A smaller --batch_size takes less"
    return text


def gibibytes(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:.2f} GiB"


def out_of_memory(settings: TrainSettings, plan: BatchPlan) -> UserError:
    """What to lower, the gentlest first: the same steps in smaller pieces, then more work, then less model."""
    advice = []
    if plan.batch_size > 1:
        half, pieces = plan.batch_size // 2, -(-plan.rows_per_step // (plan.batch_size // 2))
        advice.append(f"--batch_size={half} --gradient_accumulation_steps={pieces} (the same step in smaller pieces)")
    if not settings.loop.recompute:
        advice.append("--recompute (a third more work)")
    if settings.runtime.dtype == "float32" and settings.runtime.device != "cpu":
        advice.append("--dtype=bfloat16")
    advice.append(f"--block_size={max(1, plan.block_size // 2)}")
    advice.append(f"a smaller model (n_embd={settings.model.n_embd}, n_layer={settings.model.n_layer})")
    return UserError(
        f"There is not enough memory to train with batch_size={plan.batch_size}, block_size={plan.block_size}.",
        "In this order: " + "; ".join(advice) + ".",
    )
