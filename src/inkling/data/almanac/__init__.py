"""The almanac: a small true world of text and talk that ships with inkling and is made on the spot.

The facts are in `tables/*.txt`, how they are said in `tables/*.toml`, everything else that is said in `words/`; a line
added to any of them is learnt on the next run. A person's own folder of tables joins them: `load_world("my/folder")`.

    documents(seed, count)        text to read, one string a document      pages.py, stories.py
    conversations(seed, count)    {"messages": [...]}                      dialogues.py, talk.py, skills.py
    exam_items(seed, count)       questions kept out of both, and          exams.py
    practice(kind, seed, index)   questions as training asks them, for RL
    grade(kind, reply, expected)  whether a reply is right                 grading.py

Everything is a pure function of a seed and an index: `prose(7, 1000)` needs none of the thousand before it.
"""

from inkling.data.almanac.dialogues import KINDS as CONVERSATION_KINDS
from inkling.data.almanac.dialogues import conversation, conversations
from inkling.data.almanac.exams import EXAM_KINDS, PRACTICE_KINDS, ExamItem, exam, exam_items, practice
from inkling.data.almanac.facts import Fact, load_tables
from inkling.data.almanac.grading import grade, is_refusal
from inkling.data.almanac.pages import describe, documents, prose
from inkling.data.almanac.world import World, bundled_world, load_world

__all__ = [
    "CONVERSATION_KINDS",
    "EXAM_KINDS",
    "PRACTICE_KINDS",
    "ExamItem",
    "Fact",
    "World",
    "bundled_world",
    "conversation",
    "conversations",
    "describe",
    "documents",
    "exam",
    "exam_items",
    "grade",
    "is_refusal",
    "load_tables",
    "load_world",
    "practice",
    "prose",
]
