"""Classes that are one class spelled in two ways are found, refused, or merged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.spellings import Labelled, essence, merged, refuse_spellings, spellings
from stages.contract.errors import PipelineError


@pytest.mark.parametrize(
    "group",
    [
        ["card", "Card ", "CARD", " card", "card\u00a0", "ca\u00adrd"],
        ["0", "0.0", "False", "false", "-0", "0.00", "00"],
        ["1", "1.0", "True", "+1", "1e0", "\uff11"],
        ["credit card", "credit  card", "creditcard"],
        ["caf\u00e9", "cafe\u0301"],
        ["stra\u00dfe", "STRASSE"],
        ["12345678901234567890", "12345678901234567890.0"],
    ],
)
def test_spellings_of_one_name_are_one_group(group: list[str]) -> None:
    assert spellings([*group, "other"]) == [group]


@pytest.mark.parametrize(
    "names",
    [
        ["card", "cart"], ["0", "1"], ["-1", "0", "1"], ["a-b", "ab", "a_b"], ["1.5", "15"], ["c", "c++", "c#"],
        ["12345678901234567890", "12345678901234567891"], ["nan", "inf"], ["+", "-"], ["yes", "true", "no"],
    ],
)  # fmt: skip
def test_different_names_stay_apart(names: list[str]) -> None:
    assert spellings(names) == []


@given(st.text(min_size=1, max_size=8))
def test_case_and_blanks_never_matter(label: str) -> None:
    assert essence(f" {label}\t") == essence(label)
    assert essence(label.casefold()) == essence(label)


def test_a_refusal_names_the_rows_and_both_ways_out() -> None:
    rows = [Labelled("card", "s.csv:2"), Labelled("Card ", "s.csv:3"), Labelled("card", "s.csv:4")]
    rows += [Labelled("0.0", "s.csv:5"), Labelled("0", "t.csv:2")]
    with pytest.raises(PipelineError) as caught:
        refuse_spellings(rows)
    assert str(caught.value) == (
        "s.csv:2: classes that differ only in case, blanks, Unicode form or number format: "
        "'card' (s.csv:2) and 'Card ' (s.csv:3), '0.0' (s.csv:5) and '0' (t.csv:2); make each group one class with "
        "--merge-spellings, or several on purpose with --keep-spellings"
    )


@pytest.mark.parametrize(
    ("labels", "chosen", "instead"),
    [
        (["Card", "card", "card"], [], {"Card": "card"}),
        (["LOAN", "loan"], [], {"loan": "LOAN"}),  # as frequent: the first
        (["card ", "card ", "Card"], [], {"card ": "card", "Card": "card"}),  # no blank at the end
        (["0.0", "0.0", "0"], [], {"0.0": "0"}),  # a whole number, however rare
        (["True", "1.0"], [], {"1.0": "True"}),
        (
            ["card", "card", "CARD"],
            ["Card", "x"],
            {"card": "Card", "CARD": "Card"},
        ),  # as --labels spells it
        (["a", "b"], [], {}),
    ],
)
def test_merging_keeps_the_spelling_that_is_meant(
    labels: list[str], chosen: list[str], instead: dict[str, str]
) -> None:
    assert merged([Labelled(label, "s.csv:1") for label in labels], chosen) == instead
