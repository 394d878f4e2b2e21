"""Small files with the columns of the published tasks, in the folders that they have on the hub."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from test_conversation import says, user

ARC = [
    ("Which is a planet?", ["Mars", "the Moon", "the Sun", "Sirius"], ["A", "B", "C", "D"], "A"),
    ("What  freezes?\n", ["fire", "water", "light"], ["1", "2", "3"], "2"),
    ("Which is a metal?", ["wood", "air", "salt", "glass", "tin"], ["A", "B", "C", "D", "E"], "E"),
]
MMLU = [
    (f"Question {i} of {subject}?", subject, ["w", "x", "y", "z"], i % 4)
    for subject in ("virology", "anatomy")
    for i in range(3)
]
GSM8K = [
    (
        "Natalia sold 48 clips, and half as many in May. How many?",
        "In May she sold 48/2 = <<48/2=24>>24 clips.\nIn all 48+24 = <<48+24=72>>72.\n#### 72",
    ),
    ("What are 1,000 and 234?", "They are <<1000+234=1234>>1,234.\n#### 1,234"),
    ("What is 5 less 8?", "It is -3.\n#### -3"),
]
HUMANEVAL = [
    {
        "task_id": "HumanEval/0",
        "prompt": 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """ The sum.\n    """\n',
        "canonical_solution": "    return sum(numbers)\n",
        "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
        "entry_point": "total",
    },
    {
        "task_id": "HumanEval/1",
        "prompt": 'import math\n\ndef twice(x):\n    return 2 * x\n\n\ndef floor_twice(x):\n    """ 2x, as int."""\n',
        "canonical_solution": "    return math.floor(twice(x))\n",
        "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1.7) == 3\n",
        "entry_point": "floor_twice",
    },
]
SMOLTALK = [
    [{"role": "system", "content": "Be short."}, user("hi"), says("Hello.")],
    [user("Who?"), says("Me."), user("And?"), says("You.")],
    [user("no answer")],
    [says("no question"), user("really?")],
]


def write(folder: str | Path, name: str, columns: dict) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), Path(folder, name))


def publish(top: str | Path) -> str:
    """All of them below `top`, whose name is returned."""
    for level in ("Easy", "Challenge"):
        for split in ("train", "test"):
            columns = {
                "id": [f"{level}{split}{i}" for i in range(len(ARC))],
                "question": [row[0] for row in ARC],
                "choices": [{"text": row[1], "label": row[2]} for row in ARC],
                "answerKey": [row[3] for row in ARC],
            }
            write(Path(top, f"ai2_arc/ARC-{level}"), f"{split}-00000-of-00001.parquet", columns)
    names = ("question", "subject", "choices", "answer")
    mmlu = {name: [row[i] for row in MMLU] for i, name in enumerate(names)}
    write(Path(top, "mmlu/all"), "test-00000-of-00001.parquet", mmlu)
    taught = mmlu | {"subject": [""] * len(MMLU)}
    write(Path(top, "mmlu/all"), "auxiliary_train-00000-of-00001.parquet", taught)
    gsm8k = {"question": [row[0] for row in GSM8K], "answer": [row[1] for row in GSM8K]}
    for split in ("train", "test"):
        write(Path(top, "gsm8k/main"), f"{split}-00000-of-00001.parquet", gsm8k)
    humaneval = {name: [row[name] for row in HUMANEVAL] for name in HUMANEVAL[0]}
    write(Path(top, "openai_humaneval/openai_humaneval"), "test-00000-of-00001.parquet", humaneval)
    for part in range(2):
        smoltalk = {"messages": SMOLTALK[2 * part : 2 * part + 2], "source": ["x", "y"]}
        write(Path(top, "smol-smoltalk/data"), f"train-0000{part}-of-00002.parquet", smoltalk)
    return str(top)
