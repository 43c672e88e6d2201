"""The late policy: what each file loses, and policies that are refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.grading.errors import LabError
from labkit.grading.late import Exemption, Late, Policy, apply, lateness, parse_policy, penalty, read_policy
from labkit.grading.results import Result

DEADLINE = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
POLICY = Policy(DEADLINE, grace_minutes=15, deduction=10, cap=50)
RESULT = Result("a.ipynb", "ada", "Ada", "", "", "", "graded", {"q1": 20.0}, {"q1": 18.0})


def handed_in(after: timedelta, **changes: object) -> Result:
    return replace(RESULT, submitted=(DEADLINE + after).isoformat(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minutes", "steps", "points"),
    [
        (-5, 0, 0.0),
        (0, 0, 0.0),
        (15, 0, 0.0),
        (16, 1, 2.0),
        (24 * 60, 1, 2.0),
        (24 * 60 + 1, 2, 4.0),
        (9 * 24 * 60, 9, 10.0),
    ],
)
def test_steps_of_a_day(minutes: int, steps: int, points: float) -> None:
    late = lateness(handed_in(timedelta(minutes=minutes)), POLICY)
    assert (late.steps, late.points) == (steps, points)
    assert bool(late.text) == bool(steps)


def test_points_by_the_hour_and_never_below_zero() -> None:
    policy = Policy(DEADLINE, per="hour", unit="points", deduction=1.5)
    assert lateness(handed_in(timedelta(hours=2, seconds=1)), policy).points == 4.5
    assert lateness(handed_in(timedelta(days=3)), policy).points == 18.0


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_penalty_grows_up_to_the_cap(a: int, b: int, deduction: float, cap: float) -> None:
    policy = Policy(DEADLINE, deduction=deduction, cap=cap)
    low, high = (penalty(steps, 20.0, policy) for steps in sorted((a, b)))
    assert 0 <= low <= high <= 20 * cap / 100


def test_canvas_decides_who_is_late() -> None:
    assert lateness(handed_in(timedelta(days=2), marked_late=False), POLICY) == Late()
    assert lateness(handed_in(timedelta(days=2), marked_late=True), POLICY).steps == 2
    unsure = lateness(handed_in(-timedelta(days=1), marked_late=True), POLICY)
    assert (unsure.unsure, unsure.points) == (True, 0.0)
    assert lateness(replace(RESULT, marked_late=True), POLICY).unsure
    assert lateness(RESULT, POLICY) == Late()


def test_exceptions() -> None:
    late = handed_in(timedelta(days=2), marked_late=True)
    for own in (
        Exemption(waived=True),
        Exemption(deadline=DEADLINE + timedelta(days=3)),
        Exemption(submitted=DEADLINE),
    ):
        assert lateness(late, replace(POLICY, exceptions={"ada": own})) == Late()
        assert lateness(late, replace(POLICY, exceptions={"bob": own})).steps == 2
    came = Exemption(submitted=DEADLINE + timedelta(days=1))
    assert lateness(replace(RESULT, marked_late=False), replace(POLICY, exceptions={"ada": came})).steps == 1


def test_local_times_and_summer_time() -> None:
    raw = {"deadline": datetime(2026, 10, 24, 12), "timezone": "Europe/Berlin", "per": "hour", "deduction": 1}
    policy = parse_policy(raw)
    assert policy.deadline == datetime(2026, 10, 24, 10, tzinfo=UTC)
    in_archive = replace(RESULT, submitted="2026-10-25T12:00:00")  # the night had an hour more
    assert lateness(in_archive, policy).steps == 25


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        'deadline = 2026-11-20T23:59:00Z\ndeduction = 10\ncap = 50\n[exceptions."a@x.org"]\nwaived = true\n',
        encoding="utf-8",
    )
    policy = read_policy(path)
    assert (policy.deadline, policy.cap, policy.exceptions["a@x.org"].waived) == (DEADLINE, 50.0, True)
    assert apply([handed_in(timedelta(days=1))], policy)["a.ipynb"].points == 2.0
    assert apply([handed_in(timedelta(days=1))], None) == {"a.ipynb": Late()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'deadline' is missing"),
        ("deadline = 3", "deadline must be a date and time.*got 3"),
        ('deadline = "2026-11-20"', "without quotes"),
        ("deadline = 2026-11-20T00:00:00\ngrace = 3", "a key must be one of.*got 'grace'.*grace_minutes"),
        ("deadline = 2026-11-20T00:00:00\ngrace_minutes = -1", "grace_minutes must be at least 0, got -1"),
        ("deadline = 2026-11-20T00:00:00\ndeduction = 101", "deduction must be between 0 and 100"),
        ('deadline = 2026-11-20T00:00:00\ncap = "50"', "cap must be a number"),
        ('deadline = 2026-11-20T00:00:00\nper = "week"', "per must be one of.*'day', 'hour'"),
        ('deadline = 2026-11-20T00:00:00\nunit = "marks"', "unit must be one of"),
        ('deadline = 2026-11-20T00:00:00\ntimezone = "Mars/Base"', "timezone must be a name.*got 'Mars/Base'"),
        ('deadline = 2026-11-20T00:00:00\ntimezone = "../../etc"', "timezone must be a name"),
        ("deadline = 2026-11-20T00:00:00\nexceptions = 3", "exceptions must be Mapping"),
        ("deadline = 2026-11-20T00:00:00\n[exceptions.ada]\nwaved = true", "key of exceptions.ada.*'waived'"),
        ("deadline = 2026-11-20T00:00:00\n[exceptions.ada]\nwaived = 1", "exceptions.ada.waived must be bool"),
        ("deadline = ", "not a TOML file"),
    ],
)
def test_bad_policies(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match=message):
        read_policy(path)


def test_missing_policy_and_bad_steps(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")
    with pytest.raises(ValueError, match="steps must be at least 0"):
        penalty(-1, 10.0, POLICY)
    with pytest.raises(TypeError, match="the policy must be Mapping"):
        parse_policy([])  # type: ignore[arg-type]
