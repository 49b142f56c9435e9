"""Every knob of every algorithm declares what it may be, and is held to it wherever it comes from."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

import learners
from learners.base.online import Online
from learners.errors import LearnerError
from replay.ranges import Range, hints, range_of

CONFIGS = {name: learners.config_class(name) for name in learners.names()}
NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, -(10**400), "²", "1", True, [], {}, object(), 1j]
NO_TEXTS = ["none of them", 0, None, True, []]


def numbers_in(hint: Any) -> Iterator[tuple[type, Range | None]]:
    """The numbers that an annotation speaks of, `int` or `float`, and the range that it declares for each."""

    def within(kind: Any, span: Range | None) -> Iterator[tuple[type, Range | None]]:
        if get_origin(kind) is Annotated:
            yield from within(get_args(kind)[0], range_of(kind) or span)
        elif kind in (int, float):
            yield kind, span
        elif get_origin(kind) is not Literal:
            for part in get_args(kind):
                yield from within(part, span)

    return within(hint, None)


def just_outside(kind: type, span: Range) -> list[Any]:
    if kind is int:
        return [span.least - 1, span.most + 1]
    return [
        span.least if span.above else math.nextafter(span.least, -math.inf),
        span.most if span.below else math.nextafter(span.most, math.inf),
    ]


def wrong_values(hint: Any) -> list[Any]:
    """Just outside of the range, and of other types."""
    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if plain is bool:
        return [0, 1, 1.0, "yes", None, []]
    if get_origin(plain) is Literal:
        return NO_TEXTS
    if plain == tuple[str, ...]:
        return [(1,), (None,), "push", None, {"push"}, 8, ("push",) * 1_001]
    ((kind, span),) = numbers_in(hint)
    assert span is not None
    wrong = just_outside(kind, span) + NO_NUMBERS
    if kind is int:
        wrong += [1.5, 2.0]
    if get_origin(plain) is tuple:
        return [(value,) for value in wrong] + [(1,) * (span.entries + 1), 8, "88", None, {8}]
    return wrong if type(None) in get_args(plain) else [*wrong, None]


def refusal(config: type[Any], knob: str, value: Any) -> str:
    """What is said of the value; nothing where it is taken."""
    try:
        config(**{knob: value})
    except LearnerError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", learners.names())
def test_what_is_out_of_range_or_of_another_type_is_refused_by_name(name):
    told = [
        (knob, value, refusal(CONFIGS[name], knob, value))
        for knob, hint in hints(CONFIGS[name]).items()
        for value in wrong_values(hint)
    ]
    assert not [entry for entry in told if not re.match(rf"{entry[0]}: found .*, expected ", entry[2])]
    assert len(told) > 100


@pytest.mark.parametrize("kind", [*CONFIGS.values(), Online], ids=lambda kind: kind.__name__)
def test_every_number_declares_a_finite_range(kind):
    for knob, hint in hints(kind).items():
        for _, span in numbers_in(hint):
            assert span is not None, f"{knob} of {kind.__name__} declares no range"
            assert math.isfinite(span.least), knob
            assert math.isfinite(span.most), knob


@pytest.mark.parametrize("name", learners.names())
def test_both_ends_of_a_range_are_in_it(name):
    among_knobs = {"elites", "samples", "subset", "members", "n_step", "policy_std", "impersonation"}
    among_knobs |= {"goal_current", "goal_future", "goal_final", "goal_random", "goal_discount"}
    among_knobs |= {"action_chunk"} if name == "gcbc" else set()
    for knob, hint in hints(CONFIGS[name]).items():
        many = get_origin(get_args(hint)[0] if get_origin(hint) is Annotated else hint) is tuple
        for kind, span in numbers_in(hint):
            ends = [] if span.above else [kind(span.least)]
            for end in [] if knob in among_knobs else [*ends, *([] if span.below else [kind(span.most)])]:
                value = (end,) if many else end
                assert getattr(CONFIGS[name](**{knob: value}), knob) == value


def test_a_list_stands_for_a_tuple_as_in_json():
    config = learners.config_class("iql")(hidden=[8, 4])
    assert config.hidden == (8, 4)
    assert config == learners.config_class("iql")(hidden=(8, 4))


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("bc", {"loss": "mse", "policy_std": 0.5}, r"policy_std: found 0\.5 with loss 'mse'"),
        ("qtopt", {"samples": 4, "elites": 5}, "elites: found 5 of 4 samples"),
        ("redq", {"members": 3, "subset": 4}, "subset: found 4 of 3 members"),
        ("rlpd", {"members": 1}, "subset: found 2 of 1 members"),
        ("edac", {"members": 1}, "members: found 1 with diversity"),
        ("awr", {"n_step": 2}, "n_step: found 2, expected 1"),
    ],
)
def test_knobs_that_do_not_go_together_are_refused(name, knobs, message):
    with pytest.raises(LearnerError, match=message):
        learners.config_class(name)(**knobs)


# --- Help ---


def helps(config: type) -> dict[str, str]:
    """The comment of each knob that the class itself declares: behind it, or above it."""
    found, above = {}, ""
    for line in inspect.getsource(config).splitlines():
        knob = re.match(r"    (\w+): [^#]*?= [^#]*?(?:  # (.*))?$", line)
        if knob:
            found[knob[1]] = knob[2] or above
        above = line.removeprefix("    # ") if line.startswith("    # ") else ""
    return found


@pytest.mark.parametrize("name", learners.names())
def test_the_help_of_each_knob_is_a_whole_sentence(name):
    told: dict[str, str] = {}
    for kind in reversed(learners.config_class(name).__mro__[:-1]):
        told |= helps(kind)
    for entry in fields(learners.config_class(name)):
        sentence = told[entry.name]
        assert sentence[:1].isupper(), f"{entry.name}: {sentence!r}"
        assert sentence.endswith("."), f"{entry.name}: {sentence!r}"
        assert len(sentence.split()) >= 3, f"{entry.name}: {sentence!r}"
