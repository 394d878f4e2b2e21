"""The way on a CPU: from tables of facts to a bot that answers, in minutes and without a network."""

from pathlib import Path

from inkling.data.sources import almanac
from inkling.stages.pipeline import Pipeline, Stage
from inkling.stages.pipelines.settings import SpeedrunSettings, again


def plan(settings: SpeedrunSettings) -> Pipeline:
    """The stages, of settings that `settled` has filled."""
    s = settings
    assert s.documents and s.conversations
    tokenizer, data, base, bot = f"tokenizers/{s.name}", f"data/{s.name}", f"runs/{s.name}-base", f"runs/{s.name}"
    text, chat = f"{data}/almanac", f"{data}/almanac_chat"
    vocabulary, read, heard = Path(tokenizer, "tokenizer.json"), Path(text, "meta.json"), Path(chat, "meta.json")
    own = (f"--tables={s.tables}",) if s.tables else ()
    common = (f"--data_dir={data}", f"--tokenizer={tokenizer}", f"--seed={s.seed}", *own)
    stages = (
        Stage(
            "a vocabulary is learned",
            ("tokenizer", "train", s.name, "--input=almanac", f"--vocab_size={s.vocab_size}"),
            makes=vocabulary,
        ),
        Stage(
            "facts become text",
            ("prepare", "almanac", f"--documents={s.documents}", *common),
            makes=read,
            reads=(vocabulary,),
            facts=almanac.describe(s.tables, s.seed, s.documents, conversations=False),
        ),
        Stage(
            "facts become conversations",
            ("prepare", "almanac_chat", f"--documents={s.conversations}", *common),
            makes=heard,
            reads=(vocabulary,),
            facts=almanac.describe(s.tables, s.seed, s.conversations, conversations=True),
        ),
        Stage(
            "a small GPT reads",
            (
                "train",
                "almanac",
                f"--dataset={text}:0.6,{chat}:0.4",
                f"--max_iters={s.read_steps}",
                f"--seed={s.seed}",
                f"--out_dir={base}",
            ),
            makes=Path(base),
            reads=(read, heard),
        ),
        Stage(
            "it learns to answer",
            (
                "sft",
                base,
                f"--dataset={chat}",
                f"--max_iters={s.teach_steps}",
                "--rate=0.7",
                "--eval_interval=500",
                "--eval_tokens=32768",
                f"--out_dir={bot}",
            ),
            makes=Path(bot),
            reads=(heard, Path(base)),
        ),
        Stage(
            "questions that it has never seen",
            ("evaluate", bot, f"--max_questions={s.questions}", "--show=3", *own),
            makes=Path(bot, "evaluations", "almanac.json"),
            reads=(Path(bot),),
            facts=almanac.describe(s.tables, 0, s.questions, conversations=True),
        ),
    )
    return Pipeline(s.name, stages, again(s, "cpu"))
