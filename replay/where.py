"""`where`: a small expression over the episodes table, such as `return > 100 and success == 1`."""

from __future__ import annotations

import ast
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from replay.errors import DataError

NAMES = ("return", "length", "success", "task", "source", "terminated", "truncated", "split")
LONGEST = 10_000
"""Characters of an expression: the lists of a few hundred tasks."""
_DEEPEST = 50
"""How many parts of an expression may stand in one another."""
_FLAGS = ("terminated", "truncated")
"""Columns that are true or false by themselves."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_HELP = (
    f"Names: {', '.join(NAMES)}; comparisons, `in`, and, or, not, numbers and quoted words; "
    f'for example "return > 100 and success == 1", or "\'cube\' in task".'
)
_SHOWN = 200
"""Characters of an expression in a message."""

Table = Mapping[str, np.ndarray]


def select(where: str, episodes: Table) -> np.ndarray:
    """bool (N,): the episodes for which the expression holds. It is parsed, never evaluated as Python, and costs at
    most its length times the episodes.

    Raises `DataError` for anything but comparisons of the known columns with constants.
    """
    if not isinstance(where, str):
        raise DataError(f"where: found a {type(where).__name__}, expected text. {_HELP}")
    if len(where) > LONGEST:
        raise DataError(f"where: found {len(where)} characters, expected at most {LONGEST}. {_HELP}")
    # `return` is a keyword of Python, so that the parser needs another word for it.
    text = _rename_return(where)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise DataError(f"where: cannot read {_shown(where)} ({getattr(error, 'msg', error)}). {_HELP}") from error
    except (MemoryError, RecursionError) as error:  # what Python's parser says of brackets in brackets
        raise _too_deep(where) from error
    if _depth(tree) > _DEEPEST:
        raise _too_deep(where)
    result = _truth(tree, {**episodes, _RETURN: episodes["return"]}, where)
    if result.shape != (len(episodes["length"]),):
        raise DataError(f"where: {_shown(where)} names no column of the episodes table. {_HELP}")
    return result


_RETURN = "return_"


def _rename_return(where: str) -> str:
    """`return` outside of quotes becomes `return_`."""
    parts: list[str] = []
    word, quote, escaped = "", "", False
    for character in where + " ":
        if not quote and (character.isalnum() or character == "_"):
            word += character
            continue
        parts.append(_RETURN if word == "return" else word)
        word = ""
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        parts.append(character)
    return "".join(parts).strip()


def _depth(tree: ast.AST) -> int:
    """How many parts stand in one another, up to one more than is allowed."""
    level, depth = [tree], 0
    while level and depth <= _DEEPEST:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def _truth(node: ast.expr, table: Table, where: str) -> np.ndarray:
    """bool (N,), or () for what is the same for all episodes."""
    match node:
        case ast.BoolOp(op=op, values=values):
            function = np.logical_and if isinstance(op, ast.And) else np.logical_or
            result = _truth(values[0], table, where)
            for value in values[1:]:
                result = function(result, _truth(value, table, where))
            return result
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_truth(operand, table, where))
        case ast.Constant(value=bool() as value):
            return np.asarray(value)
        case ast.Name(id=name) if name in _FLAGS:
            return np.asarray(table[name] != 0)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            result = np.asarray(True)
            for comparison, right in zip(ops, comparators, strict=True):
                result = np.logical_and(result, _compare(left, comparison, right, table, where))
                left = right
            return result
        case ast.Name() | ast.Constant():
            _value(node, table, where)
            raise DataError(
                f"where: {_said(node)} in {_shown(where)} is neither true nor false; compare it with something. {_HELP}"
            )
    raise _not_allowed(node, where)


def _value(node: ast.expr, table: Table, where: str) -> Any:
    """A column, (N,), or a number or word."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return _number(-value)
        case ast.Constant(value=bool() | int() | float() as value):
            return _number(value)
        case ast.Constant(value=str() as value):
            return value
        case ast.Name(id=name):
            if name not in (*NAMES, _RETURN):
                raise DataError(f"where: unknown name {name!r} in {_shown(where)}. {_HELP}")
            return table[name]
    raise _not_allowed(node, where)


def _number(value: float) -> float:
    """Whole numbers that no float can hold are beyond all others."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return float("inf") if value > 0 else float("-inf")
    return value


def _compare(a: ast.expr, op: ast.cmpop, b: ast.expr, table: Table, where: str) -> np.ndarray:
    left = _value(a, table, where)
    if isinstance(op, (ast.In, ast.NotIn)):
        inside = _inside(left, b, table, where)
        return np.logical_not(inside) if isinstance(op, ast.NotIn) else inside
    right = _value(b, table, where)
    _same_kind(left, right, a, b, where)
    function = _COMPARE.get(type(op))
    if function is None:
        raise DataError(f"where: {type(op).__name__} is not allowed in {_shown(where)}. {_HELP}")
    return np.asarray(function(left, right)).astype(bool)


def _inside(left: Any, b: ast.expr, table: Table, where: str) -> np.ndarray:
    """A column in a list of constants, or a word in a column of words."""
    if isinstance(b, (ast.Tuple, ast.List)) and isinstance(left, np.ndarray):
        choices = [_value(element, table, where) for element in b.elts]
        for choice, element in zip(choices, b.elts, strict=True):
            if isinstance(choice, np.ndarray):
                raise DataError(f"where: {_said(element)} in {_shown(where)} is a column in a list. {_HELP}")
            _same_kind(left, choice, b, element, where)
        wanted = frozenset(choices)
        return np.array([value in wanted for value in left.tolist()], bool)
    right = None if isinstance(b, (ast.Tuple, ast.List)) else _value(b, table, where)
    if not isinstance(left, str) or not isinstance(right, np.ndarray) or right.dtype != object:
        raise DataError(f"where: `in` takes a column and a list, or a word and a column of words. {_HELP}")
    return np.array([left in value for value in right.tolist()], bool)


def _same_kind(left: Any, right: Any, a: ast.expr, b: ast.expr, where: str) -> None:
    if _is_text(left) != _is_text(right):
        raise DataError(f"where: {_said(a)} and {_said(b)} in {_shown(where)}: a word against a number. {_HELP}")


def _is_text(value: Any) -> bool:
    return value.dtype == object if isinstance(value, np.ndarray) else isinstance(value, str)


def _too_deep(where: str) -> DataError:
    return DataError(f"where: {_shown(where)} has more than {_DEEPEST} parts in one another; make it flatter. {_HELP}")


def _not_allowed(node: ast.expr, where: str) -> DataError:
    return DataError(f"where: {_said(node)} is not allowed in {_shown(where)}. {_HELP}")


def _said(node: ast.expr) -> str:
    """A part of the expression as it was written."""
    return _shown(ast.unparse(node).replace(_RETURN, "return"))


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
