"""Durations: what is read, what is refused, and that text and seconds are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.sweep.durations import parse_duration, show_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1.5h", 5400.0),
        (" 10m ", 600.0),
    ],
)
def test_what_people_write(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", ["", "m", "5", "5 m", "-5m", "1h 30m", "5min", "1w", True, None, [5], float("nan")])
def test_what_is_no_time(written: object) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "text"), [(300.0, "5m"), (90.0, "1m30s"), (86400.0, "1d"), (90061.0, "1d1h1m1s"), (0.25, "0.25s")]
)
def test_the_text_is_short(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.floats(1e-9, 999_999_999.0))
def test_text_reads_back_to_the_same_number(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@given(st.integers(1, 999_999_999))
def test_whole_seconds_read_back_too(seconds: int) -> None:
    assert parse_duration(show_duration(float(seconds))) == seconds


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("dhms")), min_size=1).filter(lambda x: any(n for n, _ in x))
)
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    text = "".join(f"{amount}{unit}" for amount, unit in parts)
    assert parse_duration(text) == sum(amount * units[unit] for amount, unit in parts)
