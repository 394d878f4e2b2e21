"""The almanac: true tables, texts and conversations that depend on seed and index only, and an exam kept apart."""

import json
import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import islice

import pytest

from inkling.data.almanac import (
    CONVERSATION_KINDS,
    EXAM_KINDS,
    bundled_world,
    conversation,
    conversations,
    describe,
    documents,
    exam,
    exam_items,
    grade,
    load_tables,
    load_world,
    prose,
)
from inkling.data.almanac.dice import Dice
from inkling.data.almanac.lexicon import invented_name, is_held_word, spelling_words, topics, words_file
from inkling.data.almanac.phrases import load_frames
from inkling.data.almanac.skills import is_held_sum
from inkling.data.almanac.wording import choose, fill, four_words, words_of
from inkling.data.almanac.world import at, bare
from inkling.errors import UserError
from inkling.infer.tools import calculate
from inkling.text.messages import call_text, check_messages

MANY = 1500


@pytest.fixture(scope="module")
def world():
    return bundled_world()


@pytest.fixture(scope="module")
def talks():
    return [talk["messages"] for talk in conversations(1, MANY)]


def only(kind, count, seed=3):
    """The first conversations of one kind, as lists of messages."""
    return [talk["messages"] for talk in conversations(seed, count, {kind: 1.0})]


# --- the tables ------------------------------------------------------------------------------------------


def test_there_is_enough_and_not_too_much(world):
    assert 1800 <= len(world.facts) <= 3000
    subjects = Counter(table for table, _ in world.by_subject)
    assert subjects["countries"] == 195
    assert subjects["elements"] == 118
    assert subjects["planets"] == 8 and subjects["months"] == 12
    assert subjects["animals"] >= 60 and subjects["opposites"] >= 80
    works = ("books", "paintings", "music", "inventions", "people")
    assert sum(subjects[table] for table in works) >= 100


def test_nothing_is_said_twice(world):
    pairs = Counter((fact.subject.casefold(), fact.relation) for fact in world.facts)
    assert [pair for pair, count in pairs.items() if count > 1] == []


@pytest.mark.parametrize(
    ("subject", "relation", "value"),
    [
        ("France", "capital", "Paris"),
        ("Japan", "currency", "yen"),
        ("Brazil", "language", "Portuguese"),
        ("Kenya", "continent", "Africa"),
        ("gold", "symbol", "Au"),
        ("uranium", "number", "92"),
        ("oganesson", "number", "118"),
        ("mercury", "state", "liquid"),
        ("Mars", "place", "fourth"),
        ("February", "days", "28"),
        ("cat", "young", "kitten"),
        ("spider", "legs", "eight"),
        ("hot", "opposite", "cold"),
        ("cold", "opposite", "hot"),
        ("mouse", "plural", "mice"),
        ("Hamlet", "author", "William Shakespeare"),
        ("hexagon", "sides", "six"),
        ("the Danube", "mouth", "the Black Sea"),
        ("seconds in a minute", "number", "60"),
    ],
)
def test_known_facts(world, subject, relation, value):
    [fact] = [fact for fact in world.facts if (fact.subject, fact.relation) == (subject, relation)]
    assert fact.value == value


def test_tables_agree_with_themselves(world):
    numbers = [int(fact.value) for fact in world.by_relation["elements", "number"]]
    assert numbers == list(range(1, 119))
    symbols = [fact.value for fact in world.by_relation["elements", "symbol"]]
    assert len(set(symbols)) == 118 and all(re.fullmatch("[A-Z][a-z]?", symbol) for symbol in symbols)
    continents = {fact.value for fact in world.facts if fact.relation == "continent"}
    assert continents == {"Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America"}
    assert sum(int(fact.value) for fact in world.by_relation["months", "days"]) == 365
    for table in ("months", "days"):
        follows = {fact.subject: fact.value for fact in world.by_relation[table, "next"]}
        assert all(follows[fact.value] == fact.subject for fact in world.by_relation[table, "previous"])


def test_no_answer_stands_in_its_own_subject(world):
    """A reply that only repeats the question would be graded as right: "the Turing machine", Turing."""
    for fact in world.facts:
        assert not any(grade("facts_prose_only", fact.subject, (value,)) for value in fact.values), fact


def test_countries_named_elsewhere_are_countries(world):
    countries = {subject for table, subject in world.by_subject if table == "countries"} | {"England"}
    named = {fact.value for fact in world.facts if fact.relation == "country"}
    assert named <= countries


# --- a person's own tables -------------------------------------------------------------------------------


def test_an_own_table_is_learnt(tmp_path):
    (tmp_path / "pets.txt").write_text(
        "# ours\npet ; owner ; colour\nRex ; Ada ; brown | tan\nTom ; Ben ; -\n", "utf-8"
    )
    mine = load_world(tmp_path)
    own = [fact for fact in mine.facts if fact.table == "pets"]
    assert [(fact.subject, fact.relation, fact.values) for fact in own] == [
        ("Rex", "owner", ("Ada",)),
        ("Rex", "colour", ("brown", "tan")),
        ("Tom", "owner", ("Ben",)),
    ]
    assert all(fact in mine.asked for fact in own), "none is held back from a person"
    assert "What is the owner of Rex?" in [mine.say(own[0], question) for question in mine.relation(own[0]).ask]
    assert mine.answer(own[0]) == "The owner of Rex is Ada."
    text = " ".join(documents(1, 1500, mine))
    assert "Rex" in text and mine.fingerprint() != bundled_world().fingerprint()
    every = {at(mine.asked, 1, index, "conversations") for index in range(len(mine.asked))}
    assert every == set(mine.asked), "each is met in one walk"


def test_a_line_joins_a_bundled_table_and_phrasings_can_be_given(tmp_path):
    (tmp_path / "countries.txt").write_text("country ; capital\nLilliput ; Mildendo\n", "utf-8")
    (tmp_path / "boats.txt").write_text("boat ; length\nDora ; 7 metres\n", "utf-8-sig")
    (tmp_path / "boats.toml").write_text(
        '[length]\nask = ["How long is the boat {s}?"]\nanswer = ["The boat {s} is {v} long."]\n', "utf-8"
    )
    mine = load_world(tmp_path)
    length, capital = (fact for fact in mine.facts if fact.is_own)
    assert mine.answer(capital) == "The capital of Lilliput is Mildendo."
    assert mine.relation(length).ask == ("How long is the boat {s}?",)
    assert mine.answer(length) == "The boat Dora is 7 metres long."
    assert {item.kind for item in exam_items(1, 20, mine)} == set(EXAM_KINDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a ; b\nx ; y ; z\n", "own.txt:2: 3 cells where there are 2 columns"),
        ("# note\n\na ; b\nx ; y\nx2\n", "own.txt:5: 1 cells"),
        ("a ; b\n ; y\n", "own.txt:2: the first cell is empty"),
        ("a ; b\nx ;\n", "own.txt:2: an empty cell"),
        ("a ; b\nx ; y | \n", "own.txt:2: an empty cell"),
        ("a ; b\nx ; {y}\n", "own.txt:2: brackets"),
        ("a ; b ; b\nx ; y ; z\n", "own.txt:1: two columns"),
        ("a\nx\n", "own.txt:1: the first line names only one column"),
        ("# nothing\n", "own.txt is empty"),
        ("a ; b\nx ; y\nX ; z\n", "own.txt:3: the b of X is given in"),
        ("country ; capital\nFrance ; Lyon\n", "own.txt:2: the capital of France is given in"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, says):
    (tmp_path / "own.txt").write_text(text, "utf-8")
    with pytest.raises(UserError) as error:
        load_tables(tmp_path)
    assert says in error.value.problem and error.value.remedy


def test_other_mistakes_with_own_tables(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        load_world(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no table"):
        load_world(tmp_path)
    (tmp_path / "own.txt").write_bytes(b"a ; b\nx ; \xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load_world(tmp_path)
    (tmp_path / "own.txt").write_text("a ; b\nx ; y\n", "utf-8")
    for toml, says in [
        ("[b", "own.toml"),
        ('[b]\nnouns = ["the b of {s}"]', "nouns of .b. is not known"),
        ('[b]\nnoun = ["the b"]', "wrong gaps"),
        ('[b]\nnoun = [7]', "not a text"),
        ('[b]\nask = ["And {s}?"]', "cannot be asked or told"),
        ('nickname = "{s}"', "not known"),
    ]:  # fmt: skip
        (tmp_path / "own.toml").write_text(toml, "utf-8")
        with pytest.raises(UserError, match=says):
            load_world(tmp_path)


# --- phrasings -------------------------------------------------------------------------------------------


def all_relations(world):
    return [
        (f"{table}.{name}", rel) for table, manner in world.manners.items() for name, rel in manner.relations.items()
    ]


def test_every_relation_has_phrasings_enough(world):
    for name, relation in all_relations(world):
        assert len(relation.ask) >= 8, name
        assert len(relation.held) >= 3, name
        assert len(relation.say) >= 6, name
        assert relation.answer and relation.answer[0] in relation.say, name
    for fact in world.facts:
        if len(world.by_subject[fact.table, fact.subject]) > 1:
            assert len(world.relation(fact).follow) >= 3 and world.relation(fact).follow_held, fact


def trained_and_held(world) -> tuple[list[str], list[str]]:
    """All templates of training, and all that are only for the exam."""
    frames, skills, unknowable = load_frames(), words_file("skills"), words_file("unknowable")
    trained = [*frames["other"]["ask"], *frames["about"]["ask"], *unknowable["ask"], *skills["length"]]
    held = [*frames["other"]["held"], *unknowable["held"]]
    for manner in world.manners.values():
        trained += manner.unknown
        held += manner.unknown_held
    for _, relation in all_relations(world):
        trained += [*relation.ask, *relation.say, *relation.follow, *relation.check, *relation.choose]
        trained += [*relation.reverse, relation.reverse_answer]
        held += [*relation.held, *relation.follow_held]
    for skill in (skills["spell"], skills["letters"], *skills["sums"].values()):
        trained += skill["ask"]
        held += skill["held"]
    for name in ("greetings", "identity", "smalltalk"):
        for topic in topics(name):
            trained += [*topic.ask, *topic.answer]
            held += topic.held
    around = words_file("around")
    words = {words_of(template) for template in trained}  # of those with words around them, three are enough
    dressed = [f"{before} {start}" for before in around["before"] for start in {" ".join(w[:3]) for w in words}]
    dressed += [f"{end} {after}" for after in around["after"] for end in {" ".join(w[-3:]) for w in words}]
    return [*trained, *dressed], held


def test_held_out_phrasings_share_no_four_words_with_training(world):
    trained, held = trained_and_held(world)
    shared = four_words(trained)
    known = {words_of(template) for template in trained}
    assert len(held) > 250
    for template in held:
        assert not four_words([template]) & shared, template
        assert words_of(template) not in known, template


def test_held_out_phrasings_use_words_of_training(world):
    """Their order is new, not their words: a word that was never met tells a small model nothing."""
    trained, held = trained_and_held(world)
    known = {word for template in trained for word in words_of(template)}
    beyond = words_file("unknowable")["held"]  # not to know these words is no obstacle to saying so
    assert [text for text in held if text not in beyond and set(words_of(text)) - known] == []


def test_the_words_of_a_template():
    assert words_of("What is {s}'s capital, please?") == ("what", "is", "_'s", "capital", "please")
    assert words_of("An {s} eats {v}.") == words_of("a {v} Eats {s}")
    assert four_words(["one two three four five"]) == {
        ("one", "two", "three", "four"),
        ("two", "three", "four", "five"),
    }


def test_gaps_are_filled_in_good_english():
    assert fill("a {s} has {v} legs.", s="owl", v="two") == "An owl has two legs."
    assert fill("{s}'s capital. {v} is it.", s="the Bahamas", v="the town") == "The Bahamas' capital. The town is it."
    assert fill("He saw {s}, a {v}.", s="the sea", v="unicorn") == "He saw the sea, a unicorn."
    assert choose("[a|b] [c]", Dice("x")) in ("a c", "b c")


# --- texts -----------------------------------------------------------------------------------------------


def test_texts_depend_on_seed_and_index_only():
    forwards = [prose(7, index) for index in range(40)]
    assert [prose(7, index) for index in reversed(range(40))] == forwards[::-1]
    assert list(documents(7, 40)) == forwards
    assert forwards != [prose(8, index) for index in range(40)]
    talk = [conversation(7, index) for index in range(40)]
    assert [conversation(7, index) for index in reversed(range(40))] == talk[::-1]
    assert list(conversations(7, 40)) == talk
    assert [exam("unknown", 7, index) for index in (5, 2)] == [exam("unknown", 7, 5), exam("unknown", 7, 2)]


def test_texts_stay_what_they_are():
    assert prose(1, 3).startswith("One day ")
    assert conversation(1, 0, {"arithmetic": 1.0})["messages"][1]["tool_calls"][0]["type"] == "function"


def test_documents_are_clean_and_varied(world):
    texts = list(documents(1, MANY))
    assert len(set(texts)) > 0.99 * MANY
    for text in texts:
        assert text == text.strip() and not re.search(r"[{}\[\]|]|  |\ba [aeio]\w|\. [a-z]", text), text
    assert 150 < sum(map(len, texts)) / MANY < 400
    assert "2,4" in describe()


def test_a_fact_comes_in_many_phrasings(world):
    [fact] = [fact for fact in world.facts if (fact.subject, fact.relation) == ("France", "capital")]
    sentences = {world.say(fact, template) for template in world.relation(fact).say}
    text = "\n".join(documents(1, 5000))
    assert sum(sentence in text for sentence in sentences) >= 4


def test_every_fact_is_told_and_none_much_more_often(world):
    told = Counter(at(world.facts, 1, position, "prose") for position in range(3 * len(world.facts)))
    assert set(told.values()) == {3}


# --- conversations ---------------------------------------------------------------------------------------


def test_conversations_have_the_right_shape(talks):
    for messages in talks:
        check_messages(messages)
        assert messages[-1]["role"] == "assistant"
        for message in messages:
            assert message["content"] == message["content"].strip()
            assert message["content"] or message.get("tool_calls")
            assert not re.search(r"[{}\[\]]|\bis is\b", message["content"]), message


def test_the_calculator_says_what_it_is_said_to_say(talks):
    calls = 0
    for messages in talks:
        for call, result, answer in zip(messages, messages[1:], messages[2:], strict=False):
            if call.get("tool_calls"):
                calls += 1
                assert calculate(call_text(call["tool_calls"][0])) == result["content"]
                assert grade("arithmetic", answer["content"], (result["content"],))
    assert calls > 200


def test_sums_are_right_and_long_enough():
    by_hand = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "//": int.__floordiv__, "/": Fraction}
    seen = Counter()
    for messages in only("arithmetic", 600):
        [expression] = [json.loads(c["function"]["arguments"])["expression"] for c in _calls(messages)]
        a, operator, b = re.fullmatch(r"(\d+)(\D+)(\d+)", expression).groups()
        result = by_hand[operator](int(a), int(b))
        assert result == int(messages[-2]["content"])
        assert max(len(a), len(b)) <= 4 and not is_held_sum(int(a), operator, int(b))
        question = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        assert {a, b} <= set(re.findall(r"\d+", question))
        seen[operator] += 1
        seen[f"{len(a)} digits"] += 1
    assert len([key for key in seen if seen[key] > 50]) == 9


def _calls(messages):
    return [call for message in messages for call in message.get("tool_calls", ())]


def test_the_exam_expects_the_whole_word_that_it_asks_for(world):
    asked = [item for item in exam_items(3, 50, world) if item.kind == "spelling"]
    assert len(asked) == 50
    for item in asked:
        [word] = item.expected
        assert word in spelling_words(held=True) and re.search(rf"\b{word}\b", item.messages[-1]["content"])


def test_words_are_spelled_right_and_held_words_are_not_taught(talks):
    for messages in only("spelling", 400):
        question, answer = messages[-2]["content"], messages[-1]["content"]
        word = answer.replace(" ", "")
        assert answer == " ".join(word) and re.search(rf"\b{word}\b", question)
        assert word not in spelling_words(held=True)
    taught = " ".join([*documents(2, 1000), *(m["content"] for talk in talks for m in talk)])
    spelled = {letters.replace(" ", "") for letters in re.findall(r"(?:\b\w )+\w\b", taught)}
    held = set(spelling_words(held=True))
    assert len(held) > 100 and all(map(is_held_word, held))
    assert len(spelled) > 700 and not spelled & held


def test_letters_are_counted():
    for messages in only("letter_count", 200):
        [expression] = [call_text(call) for call in _calls(messages)]
        word, letter = re.fullmatch(r'" ([a-z]+)"\.count\("([a-z])"\)', expression).groups()
        assert messages[-2]["content"] == str(sum(c == letter for c in word))
        assert re.search(rf" {word}\b", messages[-4]["content"]), "the call copies the word with the space before it"
    for messages in only("word_length", 50):
        [expression] = [call_text(call) for call in _calls(messages)]
        [word] = re.fullmatch(r'len\(" ([a-z]+)"\)-1', expression).groups()
        assert messages[-2]["content"] == str(len(word)) and f" {word}" in messages[-4]["content"]


def test_facts_that_were_only_read_are_never_asked(world):
    assert 0.17 < len(world.prose_only) / len(world.facts) < 0.23
    never = _all_questions(world, world.prose_only) - _all_questions(world, world.asked)
    assert len(never) > 4000
    wanted = {bare(question).rstrip(".?") for question in never}
    for messages in conversations(4, 2500):
        for message in messages["messages"]:
            if message["role"] == "user":
                assert bare(message["content"]).rstrip(".?") not in wanted, message
    for text in documents(4, 2000):
        for line in text.splitlines():
            assert bare(line.removeprefix("Question: ")).rstrip(".?") not in wanted, line


@lru_cache
def _all_questions(world, facts):
    """Every question, trained and held out, of these facts."""
    relations = {fact: world.relation(fact) for fact in facts}
    return {world.say(fact, text) for fact, its in relations.items() for text in (*its.ask, *its.held)}


def test_answers_do_not_tell_what_was_only_read(world):
    """In a conversation of facts no answer is the sentence of a fact that is for prose only."""
    answers = {world.answer(fact) for fact in world.prose_only} - {world.answer(fact) for fact in world.asked}
    for messages in conversations(5, 2000):
        for message in messages["messages"]:
            assert message["content"] not in answers


def test_opposites_are_held_back_both_ways(world):
    apart = {fact.subject: world.is_prose_only(fact) for fact in world.by_relation["opposites", "opposite"]}
    assert all(apart[fact.value] == apart[fact.subject] for fact in world.by_relation["opposites", "opposite"])


def test_yes_and_no_come_as_often_and_are_right(world):
    said = Counter()
    for messages in only("yes_no", 400):
        answer = messages[-1]["content"]
        said[answer.rsplit(" ", 1)[-1]] += 1
        if answer.startswith("The capital of"):
            subject, value, verdict = re.fullmatch(r"The capital of (.*) is (.*), so (yes|no)\.", answer).groups()
            if subject not in value:  # in "Mexico City" the one is in the other
                assert (value in messages[-2]["content"].replace(subject, "")) == (verdict == "yes")
    assert min(said["yes."], said["no."]) > 100


def test_reverse_questions_have_one_answer(world):
    for fact in world.reversible:
        assert sum(fact.value in other.values for other in world.siblings(fact)) == 1


def test_a_brief_system_message_makes_brief_answers():
    brief = words_file("systems")["brief"]
    found = [m for m in only("fact", 400) if m[0]["role"] == "system" and m[0]["content"] in brief]
    assert len(found) > 5
    assert all(len(m["content"].split()) < 5 for talk in found for m in talk[-1:])


def test_every_kind_comes_and_weights_are_checked():
    for kind in CONVERSATION_KINDS:
        assert all(len(messages) >= 2 for messages in only(kind, 20))
    with pytest.raises(UserError, match="no kind"):
        conversation(1, 1, {"facts": 1.0})
    with pytest.raises(UserError, match="weights"):
        conversation(1, 1, {"fact": 0.0})


def test_invented_names_are_not_in_the_world(world):
    names = {held: set() for held in (False, True)}
    for kind in words_file("invented")["forms"]:
        for held in names:
            found = {invented_name(kind, Dice("test", kind, held, n), world.names, held) for n in range(100)}
            assert len(found) > 50 and not {bare(name) for name in found} & world.names
            names[held] |= found
    assert not names[False] & names[True], "the exam's names are its own"


def test_nobody_knows_the_unknown(world):
    messages = [m for talk in only("unknown", 500) for m in talk[-2:]]
    questions = [m["content"] for m in messages if m["role"] == "user"]
    assert all(grade("unknown", m["content"], ()) for m in messages if m["role"] == "assistant")
    assert not set(questions) & (_all_questions(world, world.asked) | _all_questions(world, world.prose_only))


# --- the exam --------------------------------------------------------------------------------------------


def test_the_exam_asks_what_training_does_not(world, talks):
    trained = {m["content"] for talk in talks for m in talk if m["role"] == "user"}
    items = list(exam_items(1, 60))
    assert Counter(item.kind for item in items) == dict.fromkeys(EXAM_KINDS, 60)
    for item in items:
        check_messages([*item.messages, {"role": "assistant", "content": "x"}])
        assert item.messages[-1]["role"] == "user"
        if item.kind != "false_refusal":
            assert item.messages[-1]["content"] not in trained
        assert item.expected or item.kind == "unknown"
        assert all(grade(item.kind, f"It is {value}.", item.expected) for value in _spelled_if_needed(item))
        assert grade(item.kind, "I do not know.", item.expected) == (item.kind == "unknown")


def _spelled_if_needed(item):
    return [" ".join(word) for word in item.expected] if item.kind == "spelling" else item.expected


def test_the_exam_meets_each_fact_once(world):
    count = len(world.prose_only)
    questions = {exam("facts_prose_only", 1, index).messages[0]["content"] for index in range(count)}
    assert len(questions) == count


def test_the_sums_of_the_exam_are_held_out():
    for index in range(200):
        item = exam("arithmetic", 1, index)
        numbers = re.findall(r"\d+", item.messages[0]["content"])
        assert len(numbers) == 2
        if "+" in item.messages[0]["content"] or "plus" in item.messages[0]["content"]:
            a, b = map(int, numbers)
            assert is_held_sum(a, "+", b) and item.expected == (str(a + b),)


def test_exams_that_there_are_not(world):
    with pytest.raises(UserError, match="no exam"):
        exam("handwriting", 1, 1)
    everything = load_world(hold_out=False)
    assert not everything.prose_only and len(everything.asked) == len(world.facts)
    with pytest.raises(UserError, match="no fact is kept"):
        exam("facts_prose_only", 1, 1, everything)


@pytest.mark.parametrize(
    ("kind", "reply", "expected", "is_right"),
    [
        ("facts_heldout_phrasing", "Paris.", ("Paris",), True),
        ("facts_heldout_phrasing", "The capital of France is PARIS!", ("Paris",), True),
        ("facts_heldout_phrasing", "The capital of France is Rome.", ("Paris",), False),
        ("facts_heldout_phrasing", "It is Parisian.", ("Paris",), False),
        ("facts_heldout_phrasing", "I do not know whether it is Paris.", ("Paris",), False),
        ("facts_heldout_phrasing", "It is Port au Prince", ("Port-au-Prince",), True),
        ("facts_heldout_phrasing", "It is Brasília.", ("Brasilia",), True),
        ("facts_heldout_phrasing", "The capital of Mexico is Mexico.", ("Mexico City",), False),
        ("facts_heldout_phrasing", "A bee lives in the hive.", ("a hive",), True),
        ("facts_prose_only", "The atomic number of gold is 179.", ("79",), False),
        ("facts_prose_only", "The atomic number of gold is 79.", ("79",), True),
        ("follow_up", "It has 4 legs.", ("four", "4"), True),
        ("follow_up", "", ("four", "4"), False),
        ("arithmetic", "12*7 is 84.", ("84",), True),
        ("arithmetic", "The answer is 1,234.", ("1234",), True),
        ("arithmetic", "84 is not 85", ("84",), False),
        ("arithmetic", "It is 840.", ("84",), False),
        ("arithmetic", "It is -5.", ("-5",), True),
        ("arithmetic", "It is 5.", ("-5",), False),
        ("arithmetic", "none", ("5",), False),
        ("letter_count", "There are 3.", ("3",), True),
        ("spelling", "a-p-p-l-e", ("apple",), True),
        ("spelling", "a p p l e", ("apple",), True),
        ("spelling", "It is A, P, P, L, E.", ("apple",), True),
        ("spelling", "a-p-l-e", ("apple",), False),
        ("spelling", "a-p-p-l-e-s", ("apple",), False),
        ("spelling", "apple", ("apple",), False),
        ("identity", "I am inkling, a small language model.", ("inkling",), True),
        ("identity", "I am a small language model.", ("inkling",), False),
        ("greeting", "Hello! How can I help you?", ("hello",), True),
        ("unknown", "I don't know.", (), True),
        ("unknown", "I don’t know that.", (), True),
        ("unknown", "The capital is Zorv.", (), False),
        ("false_refusal", "The capital is Zorv.", ("Paris",), True),
        ("false_refusal", "Sorry, I do not know.", ("Paris",), False),
        ("false_refusal", "...", ("Paris",), False),
    ],
)
def test_grades(kind, reply, expected, is_right):
    assert grade(kind, reply, expected) == is_right


# --- the dice --------------------------------------------------------------------------------------------


def test_dice_are_fair_and_depend_on_their_key():
    assert [Dice("a", 1).below(1000) for _ in range(3)] == [Dice("a", 1).below(1000)] * 3
    dice = Dice("a", 2)
    counts = Counter(dice.below(4) for _ in range(4000))
    assert set(counts) == {0, 1, 2, 3} and max(counts.values()) < 1150
    assert sorted(dice.shuffled(range(10))) == list(range(10)) == sorted(dice.sample(range(10), 99))
    assert len(set(dice.sample(range(100), 20))) == 20
    weighted = Counter(dice.weighted({"a": 3, "b": 1, "c": 0}) for _ in range(4000))
    assert 2800 < weighted["a"] < 3200 and not weighted["c"]
    assert 0.2 < sum(dice.chance(0.25) for _ in range(4000)) / 4000 < 0.3
    assert list(islice((dice.between(3, 3) for _ in iter(int, 1)), 5)) == [3] * 5
