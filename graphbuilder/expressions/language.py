r"""Data-ID expressions: the language in which a user says what part of a repository is meant.

::

    visit IN (1..10:2, 42, :more) AND band = 'r' AND NOT (visit.exposure_time < 30 OR detector % 2 = 1)
    visit.obs_time BETWEEN '2026-01-01' AND '2026-01-05 TAI' AND visit.object LIKE 'M%'
    patch OVERLAPS CIRCLE(150.1, 2.2, 0.5) AND (visit, detector) IN TABLE 'good.csv' AND NOT EXISTS(calexp)

A name is a unit (its key) or ``unit.field``. Text stands in quotes, doubled to stand for themselves.
Keywords may be written in any case. ``:name`` is a value given beside the expression. ``LIKE`` (``%``,
``_``) and ``GLOB`` (``*``, ``?``, ``[a-z]``) match the whole of a text, case counting. Times are dates
or ``MJD 61045.25``, in UTC unless another scale stands behind them.

`parse` gives a tree of `supertask.conditions`; this module reads, `graphbuilder.expressions.builder` checks.
What only a repository knows, `graphbuilder.loading.lookups` asks it: `condition_for` does both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from graphbuilder.expressions.builder import build
from graphbuilder.expressions.parts import shorten
from supertask.conditions import Condition
from supertask.errors import ExpressionError
from supertask.units import UnitModel

__all__ = ["MAX_LENGTH", "parse"]

MAX_LENGTH = 1_000_000
"""Longest expression, in characters; longer lists of values are given as bind values."""

_MAX_OPEN = 1000

_KEYWORDS = {
    "AND": "_AND",
    "OR": "_OR",
    **{word: word for word in ("NOT", "IN", "BETWEEN", "LIKE", "GLOB", "OVERLAPS", "TRUE", "FALSE")},
}

# Groups of terminals in the words of the user; a group is named if the parser would take any of it.
_WORDS: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = (
    (("NOT",), frozenset({"NOT"})),
    (("a unit", "a field", "a value", "'('"), frozenset({"INTEGER"})),
    (("a comparison (= != < <= > >=)",), frozenset({"COMPARISON"})),
    (("IN",), frozenset({"IN"})),
    (("BETWEEN", "LIKE", "GLOB"), frozenset({"BETWEEN"})),
    (("OVERLAPS",), frozenset({"OVERLAPS"})),
    (("AND",), frozenset({"_AND"})),
    (("OR",), frozenset({"_OR"})),
    (("an arithmetic sign (+ - * / %)",), frozenset({"TIMES"})),
    (("a list such as (1, 2, 5..9)",), frozenset({"_OPEN"})),
    (("TABLE 'file'",), frozenset({"TABLE"})),
    (("','",), frozenset({"_COMMA"})),
    (("'..'",), frozenset({"_DOTS"})),
    (("':' and a step",), frozenset({"_COLON"})),
    (("')'",), frozenset({"_CLOSE"})),
    (("the end of the expression",), frozenset({"$END"})),
)

_HINTS = {
    "&": "write AND",
    "|": "write OR",
    "!": "write NOT, or != for 'not equal'",
    "~": "write NOT",
    "[": "lists stand in parentheses: IN (1, 2)",
    "{": "lists stand in parentheses: IN (1, 2)",
    ";": "there is but one expression, and nothing ends it",
    "`": "text stands in straight quotes: 'r'",
    "\u2018": "text stands in straight quotes: 'r'",
    "\u2019": "text stands in straight quotes: 'r'",
    "\u201c": "text stands in straight quotes: 'r'",
    "\u201d": "text stands in straight quotes: 'r'",
    "\u2264": "write <=",
    "\u2265": "write >=",
    "\u2260": "write !=",
    "\u2212": "write the minus sign of the keyboard: -",
    "#": "expressions have no comments",
    ".": "a field is written unit.field, a range 1..10",
    ":": "a bind value is written :name, a step 1..10:2",
}


def parse(text: str, model: UnitModel, *, bind: Mapping[str, Any] | None = None) -> Condition | None:
    """Read a data-ID expression.

    Parameters
    ----------
    text : str
        The expression; see the module's docstring for the language.
    model : UnitModel
        The units and fields that it may speak of.
    bind : Mapping, optional
        Values of ``:name``: numbers, text, booleans, dates, astropy Times; for ``IN`` also a list,
        a set, a range or an array of these.

    Returns
    -------
    Condition or None
        None if there is no condition in the text.

    Raises
    ------
    ExpressionError
        It cannot be understood, or compares what cannot be compared. Points at the character.

    Examples
    --------
    >>> from supertask.unitmodels import load_unit_model
    >>> str(parse("visit in (1..9:2) and band == 'r'", load_unit_model("imaging")))
    "visit IN (1..9:2) AND band = 'r'"
    """
    _check_characters(text)
    if not text.strip() and not bind:
        return None  # without making the parser, which costs most of a small plan
    parser = _parser()
    reading: Any = parser.parse_interactive("")
    token = None
    try:
        for token in _tokens(parser, text):
            reading.feed_token(token)
        tree = reading.feed_eof(token)
    except UnexpectedToken as error:
        _refuse(text, error.token, reading.accepts())
    except UnexpectedCharacters as error:
        _refuse_character(text, error.pos_in_stream)  # type: ignore[arg-type]
    return build(tree, text, model, bind or {})


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = Path(__file__).with_name("expressions.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=False)


def _check_characters(text: str) -> None:
    if not isinstance(text, str):
        raise ExpressionError(f"an expression is text, got {text!r:.80} ({type(text).__name__})")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text):,} characters, more than {MAX_LENGTH:,}: "
            "give long lists as bind values, visit IN :visits"
        )
    at = text.find("\0")
    if at >= 0:
        raise ExpressionError("there is a NUL character in the expression", text, at)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ExpressionError("there is half a character (a lone surrogate)", text, error.start) from None


def _tokens(parser: Lark, text: str) -> Iterable[Token]:
    """Yield tokens, keywords told from names, and stop where parentheses nest beyond reason."""
    depth = 0
    for token, following in _with_following(parser.lex(text)):
        if token.type == "WORD":
            token.type = _KEYWORDS.get(token.upper(), "WORD")
            # These may be names of units, too, where they do not stand for themselves.
            if token.upper() == "EXISTS" and following == "_OPEN":
                token.type = "EXISTS"
            elif token.upper() == "TABLE" and following in ("TEXT", "BIND"):
                token.type = "TABLE"
        elif token.type == "_OPEN":
            depth += 1
            if depth > _MAX_OPEN:
                raise ExpressionError(
                    f"more than {_MAX_OPEN} parentheses are open here: simplify the expression",
                    text,
                    token.start_pos or 0,
                )
        elif token.type == "_CLOSE":
            depth -= 1
        yield token


def _with_following(tokens: Iterable[Token]) -> Iterator[tuple[Token, str]]:
    """Yield each token with the type of the one after it."""
    waiting: Token | None = None
    try:
        for token in tokens:
            if waiting is not None:
                yield waiting, token.type
            waiting = token
    except UnexpectedCharacters:
        # What stands before is wrong first, if it is.
        if waiting is not None:
            yield waiting, ""
        raise
    if waiting is not None:
        yield waiting, ""


def _refuse(text: str, token: Token, accepted: set[str]) -> NoReturn:
    at = len(text.rstrip()) if token.type == "$END" else token.start_pos or 0
    found = "the expression ends here" if token.type == "$END" else f"found {shorten(str(token))!r}"
    if "INTEGER" in accepted:
        # Here '(' opens no list.
        accepted -= {"_OPEN"}
    expected = [word for words, terminals in _WORDS if terminals & accepted for word in words]
    if "WORD" in accepted and "INTEGER" not in accepted:
        a_type = "the name of a dataset type"
        expected = [a_type if "TEXT" in accepted else "a unit, or a region such as CIRCLE(ra, dec, radius)"]
    message = f"expected {_either(expected)}; {found}"
    if token.type == "COMPARISON" and "_AND" in accepted:
        message += ". Comparisons are not chained: write a < b AND b < c"
    elif token.type == "_DOTS":
        message += ". A range stands in a list: visit IN (1..10)"
    elif token.type == "_CLOSE" and "WORD" not in accepted:
        message += ", which closes no '('"
    elif token.type == "WORD" and token.upper() in ("IS", "NULL"):
        message += ". What has no value is never excluded; there is no IS NULL"
    elif token.type == "WORD" and "WORD" not in accepted:
        message += ". Text of several words stands in quotes"
    raise ExpressionError(message, text, at)


def _refuse_character(text: str, at: int) -> NoReturn:
    character = text[at]
    if character in "'\"":
        raise ExpressionError(f"the text that begins here has no closing {character}", text, at)
    hint = _HINTS.get(character, "it stands for nothing outside of quotes")
    raise ExpressionError(f"{character!r} is not understood: {hint}", text, at)


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
