"""A setting's type and range are declared once, and hold wherever it is set."""

import dataclasses
from typing import Annotated, Literal

import pytest

from replay.ranges import Range, check_fields, expected, hints


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: Annotated[int, Range(1, 10_000)] = 1
    rate: Annotated[float, Range(0, 1, above=True)] = 0.5
    clip: Annotated[float | None, Range(0, above=True)] = None
    hidden: Annotated[tuple[int, ...], Range(1, 65_536, entries=3)] = (8, 8)
    scale: float = 1.0
    loss: Literal["squared", "huber"] = "squared"
    fused: bool = False
    where: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, ValueError, lambda name: f"--{name}")


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 10_000},
        {"rate": 1},
        {"rate": 1e-300},
        {"clip": 1e300},
        {"hidden": ()},
        {"hidden": (1, 65_536, 3)},
        {"scale": -5},
        {"loss": "huber"},
        {"where": ""},
    ],
)
def test_what_fits_is_kept_as_it_is(setting):
    assert vars(Settings(**setting)).items() >= setting.items()


@pytest.mark.parametrize(
    ("setting", "found", "wanted"),
    [
        ({"steps": 0}, "0", "a whole number, 1 to 10,000"),
        ({"steps": 10**400}, "1000", "a whole number, 1 to 10,000"),
        ({"steps": 2.0}, "2.0", "a whole number, 1 to 10,000"),
        ({"steps": True}, "True", "a whole number, 1 to 10,000"),
        ({"rate": 0.0}, "0.0", "a number, above 0, at most 1"),
        ({"rate": float("nan")}, "nan", "a number, above 0, at most 1"),
        ({"rate": "0.5"}, "'0.5'", "a number, above 0, at most 1"),
        ({"clip": float("inf")}, "inf", "a number, above 0 or none"),
        ({"clip": 10**400}, "1000", "a number, above 0 or none"),
        ({"hidden": (8, 0)}, r"\(8, 0\)", "up to 3 entries, each a whole number, 1 to 65,536"),
        ({"hidden": (8,) * 4}, r"\(8, 8, 8, 8\)", "up to 3 entries"),
        ({"hidden": 8}, "8", "up to 3 entries"),
        ({"scale": float("-inf")}, "-inf", "a finite number"),
        ({"scale": None}, "None", "a finite number"),
        ({"loss": "l1"}, "'l1'", "'squared' or 'huber'"),
        ({"fused": 1}, "1", "true or false"),
        ({"where": 3}, "3", "text or none"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(setting, found, wanted):
    with pytest.raises(ValueError, match=rf"^--{next(iter(setting))}: found ({found}).*, expected {wanted}"):
        Settings(**setting)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Range(1, 10**12), "1 to 1e12"),
        (Range(0), "0 or more"),
        (Range(0, above=True), "above 0"),
        (Range(0, 1, below=True), "at least 0, below 1"),
        (Range(most=0.5), "0.5 or less"),
        (Range(), "finite"),
    ],
)
def test_a_range_says_what_it_is(span, words):
    assert str(span) == words


def test_optional_numbers_say_so():
    assert expected(hints(Settings)["clip"]) == "a number, above 0 or none"
