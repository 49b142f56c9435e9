"""`where`: a small expression over the episodes table, such as `return > 100 and success == 1`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from replay.errors import DataError

NAMES = ("return", "length", "success", "task", "source", "terminated", "truncated", "split")

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


def select(where: str, episodes: Mapping[str, np.ndarray]) -> np.ndarray:
    """bool (N,): the episodes for which the expression holds. It is parsed, never evaluated as Python.

    Raises `DataError` for anything but comparisons of the known columns with constants.
    """
    # `return` is a keyword of Python, so that the parser needs another word for it.
    text = _rename_return(where)
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise DataError(f"where: cannot read {where!r} ({getattr(error, 'msg', error)}). {_HELP}") from error
    result = _evaluate(tree, {**episodes, _RETURN: episodes["return"]}, where)
    count = len(episodes["length"])
    if not isinstance(result, np.ndarray) or result.shape != (count,):
        raise DataError(f"where: {where!r} names no column of the episodes table. {_HELP}")
    return result.astype(bool)


_RETURN = "return_"


def _rename_return(where: str) -> str:
    """`return` outside of quotes becomes `return_`."""
    parts, word, quote = [], "", ""
    for character in where + " ":
        if not quote and (character.isalnum() or character == "_"):
            word += character
            continue
        parts.append(_RETURN if word == "return" and not quote else word)
        word = ""
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        parts.append(character)
    return "".join(parts).strip()


def _evaluate(node: ast.expr, table: Mapping[str, np.ndarray], where: str) -> Any:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [np.asarray(_evaluate(value, table, where)).astype(bool) for value in values]
            return (np.logical_and if isinstance(op, ast.And) else np.logical_or).reduce(np.broadcast_arrays(*parts))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~np.asarray(_evaluate(operand, table, where)).astype(bool)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.Name(id=name):
            if name not in (*NAMES, _RETURN):
                raise DataError(f"where: unknown name {name!r} in {where!r}. {_HELP}")
            return table[name]
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            terms = [left, *comparators]
            parts = [_compare(a, op, b, table, where) for a, op, b in zip(terms[:-1], ops, terms[1:], strict=True)]
            return np.logical_and.reduce(parts)
    raise DataError(f"where: {ast.unparse(node)!r} is not allowed in {where!r}. {_HELP}")


def _compare(a: ast.expr, op: ast.cmpop, b: ast.expr, table: Mapping[str, np.ndarray], where: str) -> np.ndarray:
    left = _evaluate(a, table, where)
    if isinstance(op, (ast.In, ast.NotIn)):
        if isinstance(b, (ast.Tuple, ast.List)) and isinstance(left, np.ndarray):
            choices = [_evaluate(element, table, where) for element in b.elts]
            inside = np.array([value in choices for value in left.tolist()], bool)
        else:
            right = _evaluate(b, table, where)
            if not isinstance(left, str) or not isinstance(right, np.ndarray) or right.dtype != object:
                raise DataError(f"where: `in` takes a column and a list, or a word and a column of words. {_HELP}")
            inside = np.array([left in value for value in right.tolist()], bool)
        return ~inside if isinstance(op, ast.NotIn) else inside
    right = _evaluate(b, table, where)
    if _is_text(left) != _is_text(right):
        raise DataError(f"where: {ast.unparse(a)} and {ast.unparse(b)} in {where!r}: a word against a number. {_HELP}")
    function = _COMPARE.get(type(op))
    if function is None:
        raise DataError(f"where: {type(op).__name__} is not allowed in {where!r}. {_HELP}")
    return np.asarray(function(left, right))


def _is_text(value: Any) -> bool:
    return value.dtype == object if isinstance(value, np.ndarray) else isinstance(value, str)
