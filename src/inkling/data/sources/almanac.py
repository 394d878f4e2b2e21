"""The almanac as a source: texts or conversations that are made on the spot, in any amount.

Document i is a function of (tables, seed, i), so a stretch of them is a range of numbers, and is read by any process
without the others.
"""

import json
from collections.abc import Iterator

# Bytes of a document on average, for progress bars: 20,000 of each were 9.6 and 3.9 MB.
TEXT_BYTES, CHAT_BYTES = 480, 195


def documents(start: int, stop: int, seed: int, tables: str, conversations: bool) -> Iterator[str]:
    """Documents `start` to `stop` of the endless almanac; conversations as the JSON of their messages.

    `tables` is a folder of a person's own tables, which join the bundled ones; "" is none.
    """
    from inkling.data.almanac import conversation, load_world, prose

    world = load_world(tables or None)
    for index in range(start, stop):
        if conversations:
            yield json.dumps(conversation(seed, index, world=world)["messages"], ensure_ascii=False)
        else:
            yield prose(seed, index, world)


def describe(tables: str, seed: int, count: int, conversations: bool) -> str:
    """What all of it is, in a line that changes when a table does."""
    from inkling.data.almanac import describe, load_world

    world = load_world(tables or None)
    what = "conversations" if conversations else "texts"
    return f"{describe(world)} ({world.fingerprint()[:12]}), {count:,} {what} of seed {seed}"
