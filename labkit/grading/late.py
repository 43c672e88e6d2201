"""What late work costs: a policy in policy.toml, applied to results as a pure function.

deadline = 2026-11-20T23:59:00       # local time in the time zone below, or with an offset of its own
timezone = "Europe/Berlin"
grace_minutes = 15                   # later than this, and the time counts from the deadline
per = "day"                          # or "hour"; a started one counts as a whole one
deduction = 10                       # for each day or hour
unit = "percent"                     # of the lab's full points, or "points"
cap = 50                             # the most that is taken, in the same unit

[exceptions.ada]                     # by the student's id; quote an id such as "ada@example.org"
deadline = 2026-11-27T23:59:00       # another deadline, or
waived = true                        # no deduction at all, or
submitted = 2026-11-20T20:00:00      # the time when it really came
"""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from labkit import checks
from labkit.grading.errors import LabError
from labkit.grading.notebook import read_bytes
from labkit.grading.results import Result

SECONDS = {"day": 86_400, "hour": 3_600}
UNITS = ("percent", "points")


@dataclass(frozen=True)
class Exemption:
    """What holds for one student instead of the rule."""

    deadline: datetime | None = None
    submitted: datetime | None = None
    waived: bool = False


@dataclass(frozen=True)
class Policy:
    """A late policy; all times carry their offset, and `timezone` is that of times that have none."""

    deadline: datetime
    timezone: tzinfo = UTC
    grace_minutes: float = 0.0
    per: str = "day"
    deduction: float = 0.0
    unit: str = "percent"
    cap: float = math.inf
    exceptions: Mapping[str, Exemption] = field(default_factory=dict)


@dataclass(frozen=True)
class Late:
    """What lateness costs one file: `steps` days or hours begun, `points` to take off, and a sentence for the student.

    `unsure` is True if the file is late but its time is not known, so that a person must decide.
    """

    steps: int = 0
    points: float = 0.0
    text: str = ""
    unsure: bool = False


def read_policy(path: str | Path) -> Policy:
    """Return the policy in a TOML file; raises LabError naming the key, its value and what is allowed."""
    path = Path(path)
    try:
        raw = tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path} is not a TOML file: {error}") from error
    try:
        return parse_policy(raw)
    except (ValueError, TypeError) as error:
        raise LabError(f"{path}: {error}") from error


def parse_policy(raw: Mapping[str, Any]) -> Policy:
    """Return the policy that a mapping of plain values describes, the keys as in policy.toml.

    >>> from datetime import datetime
    >>> parse_policy({"deadline": datetime(2026, 11, 20), "deduction": 10}).unit
    'percent'
    """
    for key in checks.instance(raw, "the policy", Mapping):
        checks.choice(key, "a key", [f.name for f in fields(Policy)])
    if "deadline" not in raw:
        raise LabError("the key 'deadline' is missing, a time such as 2026-11-20T23:59:00+01:00")
    zone = _zone(raw.get("timezone", "UTC"))
    unit = checks.choice(raw.get("unit", "percent"), "unit", UNITS)
    most = 100.0 if unit == "percent" else math.inf
    return Policy(
        deadline=_time(raw["deadline"], "deadline", zone),
        timezone=zone,
        grace_minutes=checks.number(raw.get("grace_minutes", 0), "grace_minutes", low=0),
        per=checks.choice(raw.get("per", "day"), "per", SECONDS),
        deduction=checks.number(raw.get("deduction", 0), "deduction", low=0, high=most),
        unit=unit,
        cap=checks.number(raw["cap"], "cap", low=0, high=most) if "cap" in raw else math.inf,
        exceptions=_exceptions(raw.get("exceptions", {}), zone),
    )


def lateness(result: Result, policy: Policy) -> Late:
    """Return what a result loses; the points never exceed those it earned.

    Canvas knows who is late, so its mark decides there, and the time of the file only says by how much; without a
    mark the time of the file decides. A file without any time is on time.
    """
    own = policy.exceptions.get(result.student, Exemption())
    if own.waived or (result.marked_late is False and own.submitted is None):
        return Late()
    deadline, when = own.deadline or policy.deadline, own.submitted or _submitted(result, policy)
    over = (when - deadline).total_seconds() if when else 0.0
    if over <= 60 * policy.grace_minutes:
        unsure = bool(result.marked_late and own == Exemption())
        return Late(text="Marked as late; a person decides what that costs." if unsure else "", unsure=unsure)
    steps = math.ceil(over / SECONDS[policy.per])
    points = min(penalty(steps, result.maximum, policy), result.total)
    return Late(steps, round(points, 4), f"Handed in {_count(steps, policy.per)} late: {points:g} points less.")


def penalty(steps: int, maximum: float, policy: Policy) -> float:
    """Return the points that `steps` days or hours cost on a lab with `maximum` points.

    >>> from datetime import datetime, UTC
    >>> penalty(3, 12.0, Policy(datetime(2026, 11, 20, tzinfo=UTC), deduction=10, cap=25))
    3.0
    """
    taken = min(checks.integer(steps, "steps", low=0) * policy.deduction, policy.cap)
    return maximum * taken / 100 if policy.unit == "percent" else taken


def apply(results: Iterable[Result], policy: Policy | None) -> dict[str, Late]:
    """Return what each file loses, by the name of the file; nothing without a policy."""
    return {result.submission: lateness(result, policy) if policy else Late() for result in results}


def _exceptions(raw: Any, zone: tzinfo) -> dict[str, Exemption]:
    checks.instance(raw, "exceptions", Mapping)
    return {student: _exemption(value, f"exceptions.{student}", zone) for student, value in raw.items()}


def _exemption(raw: Any, name: str, zone: tzinfo) -> Exemption:
    for key in checks.instance(raw, name, Mapping):
        checks.choice(key, f"a key of {name}", [f.name for f in fields(Exemption)])
    times = {key: _time(raw[key], f"{name}.{key}", zone) for key in ("deadline", "submitted") if key in raw}
    waived = checks.instance(raw.get("waived", False), f"{name}.waived", bool)
    return Exemption(times.get("deadline"), times.get("submitted"), waived)


def _zone(name: Any) -> tzinfo:
    try:
        return ZoneInfo(checks.instance(name, "timezone", str))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise LabError(f"timezone must be a name such as 'Europe/Berlin' or 'UTC', got {name!r}") from error


def _time(value: Any, name: str, zone: tzinfo) -> datetime:
    if not isinstance(value, datetime):
        raise LabError(f"{name} must be a date and time without quotes, such as 2026-11-20T23:59:00, got {value!r}")
    return _utc(value, zone)


def _utc(when: datetime, zone: tzinfo) -> datetime:
    """Return a time in UTC, since Python counts a day of 23 or 25 hours as 24 within one time zone."""
    return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(UTC)


def _submitted(result: Result, policy: Policy) -> datetime | None:
    """Return the time of the file; archives hold local time without an offset."""
    try:
        when = datetime.fromisoformat(result.submitted or "")
    except ValueError:
        return None
    return _utc(when, policy.timezone)


def _count(steps: int, per: str) -> str:
    return f"{steps} {per}{'s' if steps != 1 else ''}"
