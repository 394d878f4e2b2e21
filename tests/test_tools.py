"""The calculator: right answers, its own error for everything else, and soon."""

import math
import sys
import threading
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inkling.infer import tools
from inkling.infer.tools import MAX_CHARACTERS, ToolError, calculate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("12*(3+4)", "84"),
        (" 7 - 10 ", "-3"),
        ("-3+5", "2"),
        ("--3", "3"),
        ("+3", "3"),
        ("7/2", "3.5"),
        ("6/3", "2"),
        ("7//2", "3"),
        ("-7//2", "-4"),
        ("7%4", "3"),
        ("2**10", "1024"),
        ("2**-1", "0.5"),
        ("2**0.5", "1.41421356237"),
        ("-2**2", "-4"),
        ("0**0", "1"),
        ("0.1+0.2", "0.3"),
        ("4.35*100", "435"),
        ("1/3", "0.333333333333"),
        ("2.5*4", "10"),
        ("1e3", "1000"),
        ("1.5e3", "1500"),
        ("1e300/1e290", "10000000000"),
        ("1e20*1.0", "1e+20"),
        ("-0.0", "0"),
        (".5+5.", "5.5"),
        ("007+1", "8"),
        ("0", "0"),
        ("0.0625", "0.0625"),
        ("3×4÷2−1", "5"),
        ("1,234+1", "1235"),
        ("1,234,567*1", "1234567"),
        ("1,234.5+1", "1235.5"),
        ("10**50/10", "1" + "0" * 49),
        ("9999*9999", "99980001"),
        ("99999999999999999999*99999999999999999999", "9999999999999999999800000000000000000001"),
        ('"strawberry".count("r")', "3"),
        ("'strawberry'.count('r')", "3"),
        ('"strawberry" . count( "rr" )', "1"),
        ('"a×b÷c".count("×")', "1"),
        ('"čaj 🖋🖋".count("🖋")', "2"),
        ('len("strawberry")', "10"),
        ('len("")', "0"),
        ('len("it\'s") + 2 * "aa".count("a")', "8"),
        ("1\t+ 1", "2"),
    ],
)
def test_right_answers(expression, result):
    assert calculate(expression) == result


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "not an expression"),
        ("   ", "not an expression"),
        ("1 +", "not an expression"),
        ("1 1", "not an expression"),
        ("1,23", "','"),
        ("1,2345", "','"),
        ("(1", "not an expression"),
        ("1 (2", "not an expression"),
        ("1if 2 else 3", "'i'"),
        ("1_000", "'_'"),
        ("0x10", "'x'"),
        ("1j", "'j'"),
        ("x", "'x'"),
        ("True", "'T'"),
        ("2^3", "'^'"),
        ("1==1", "'='"),
        ("~1", "'~'"),
        ("[1]", "'['"),
        ("1;2", "';'"),
        ("1\n+1", "'\\n'"),
        ("1#", "'#'"),
        ("()", "only numbers"),
        ("(1)(2)", "only numbers"),
        ('"a"', "only numbers"),
        ('"a"+"b"', "only numbers"),
        ('"a"*9', "only numbers"),
        ('"%d"%1', "only numbers"),
        ("len(5)", "only numbers"),
        ('len("a" "b"*3)', "only numbers"),
        ("len", "only numbers"),
        ("len()", "only numbers"),
        ('"a".count', "only numbers"),
        ('"a".count()', "only numbers"),
        ('("a"+"b").count("a")', "only numbers"),
        ('"a".count(*"b")', "only numbers"),
        ('"a".count(**"b")', "only numbers"),
        ('len(*"b")', "only numbers"),
        ('"a".upper()', "'.'"),
        ('f"{1}".count("1")', "'f'"),
        ('"\\x41".count("A")', "'\"'"),
        ("__import__('os')", "'_'"),
        ("(1).__class__", "'.'"),
        ("1/0", "zero"),
        ("1//0", "zero"),
        ("1%0", "zero"),
        ("0**-1", "zero"),
        ("1.0/0", "zero"),
        ("0.0**-1", "zero"),
        ("(-8)**(1/3)", "real"),
        ("9**9**9", "large"),
        ("9**999999999999", "large"),
        ("(-9)**999999999999", "large"),
        ("10.0**400", "large"),
        ("1e999", "large"),
        ("1e300*1e300", "large"),
        ("-1e300*1e300", "large"),
        ("10**99*10**99", "large"),
        ("9" * 101, "large"),
        ("10**99+1e999", "large"),
        ("1" * (MAX_CHARACTERS + 1), "longer"),
        ("-" * 200 + "1", "deep"),
        ("1" + "+1" * 200, "deep"),
        ("1٣", "'٣'"),
        ("１+１", "'１'"),
        ("1\0", r"'\x00'"),
        ('"\0".count("a")', "not an expression"),
        ('"\ud800".count("a")', "not an expression"),
        ("\ud800", "ud800"),
    ],
)
def test_everything_else_is_its_own_error(expression, says):
    with pytest.raises(ToolError) as error:
        calculate(expression)
    assert says in str(error.value)


def test_large_exponents_that_are_small_numbers():
    assert calculate("1**(10**90)") == "1"
    assert calculate("(-1)**(10**90+1)") == "-1"
    assert calculate("0**(10**90)") == "0"
    assert calculate("2**-(10**90)") == "0"
    assert calculate("2**331") == str(2**331)
    with pytest.raises(ToolError, match="large"):
        calculate("2**333")


@pytest.fixture(scope="module", autouse=True)
def every_number_is_small():
    """No number is ever computed that is much larger than an answer may be: so no sum can take long."""

    def bounded(number, real=tools._bounded):
        assert not isinstance(number, int) or number.bit_length() <= 2 * tools.MAX_BITS
        return real(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tools, "_bounded", bounded)
        yield


def soon(expression):
    """The answer or None; fails when it printed a warning, or raised anything but ToolError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            answer = calculate(expression)
        except ToolError:
            return None
    assert len(answer) <= 110 and math.isfinite(float(answer))
    return answer


BRICKS = ["1", "9", "0", "10**99", ".5", "1e99", "1,000", "(", ")", "+", "-", "*", "/", "//", "%", "**", "×", "÷", "−"]
BRICKS += [
    '"',
    "'",
    '"a"',
    ".count(",
    "len(",
    "len",
    " ",
    "\t",
    "\n",
    ",",
    "\\",
    "_",
    "x",
    "\0",
    "\ud800",
    "٣",
    "f",
    "{",
]


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(BRICKS), max_size=60).map("".join)))
@example("(" * 250 + "1" + ")" * 249)
@example("(" * 500)
@example("(" * 199 + "1 1" + ")" * 199)
@example("len(" * 125)
@example("-" * 499 + "1")
@example("2**" * 166 + "2")
@example("9**" * 100 + "9")
@example("1" + "**9" * 100)
@example('""' * 250)
@example("1/" * 249 + "3")
def test_any_text_in_time(text):
    soon(text)


numbers = st.one_of(
    st.integers(0, 10**30).map(str),
    st.floats(0, 1e20, allow_nan=False).map(repr).filter(lambda text: "e" not in text),
    st.integers(0, 20).map(str),
)
trees = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(st.just("("), inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner, st.just(")")),
        st.tuples(st.just("(-"), inner, st.just(")")),
    ).map("".join),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_any_tree_in_time(expression):
    soon(expression)


whole = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(st.just("("), inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner, st.just(")")).map(
        "".join
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(whole)
def test_whole_numbers_as_python_computes_them(expression):
    try:
        expected = str(eval(expression))
    except ZeroDivisionError:
        expected = None
    assert soon(expression) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=40).filter(lambda text: not set(text) & set('"\\\n\r\0')), st.text("abč🖋", min_size=1, max_size=2)
)
def test_letters_are_counted_as_python_counts_them(text, part):
    assert calculate(f'"{text}".count("{part}")') == str(text.count(part))
    assert calculate(f'len("{text}")') == str(len(text))


def test_a_deep_stack_is_no_excuse():
    def deep(levels):
        return soon("(" * 60 + "1" + ")" * 60) if levels == 0 else deep(levels - 1)

    assert deep(sys.getrecursionlimit() - 400) == "1"


def test_in_threads():
    results = {}

    def work(i):
        results[i] = [calculate(f"{i}*{j}+2**100") for j in range(50)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: [str(i * j + 2**100) for j in range(50)] for i in range(8)}
