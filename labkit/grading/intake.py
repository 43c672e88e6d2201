"""What was handed in: one `Submission` for each file of a folder or archive, whatever the file is.

Nothing is unpacked to disk and no name from an archive is ever used as a path.
"""

import hashlib
import itertools
import os
import re
import stat
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from labkit.grading.errors import LabError
from labkit.grading.notebook import MAX_BYTES, read_bytes
from labkit.grading.results import Flag, Result
from labkit.grading.roster import Roster, Student, name_keys
from labkit.grading.text import visible

MAX_ENTRIES = 5_000
MAX_RATIO = 200  # notebooks with pictures and long outputs stay below 100
MAX_NAME = 120
MAX_DEPTH = 16
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
DEBRIS = re.compile(r"(^|/)(__MACOSX|\.ipynb_checkpoints)/|(^|/)(\.DS_Store|Thumbs\.db|desktop\.ini)$")  # nobody's work

# Canvas: smithada_LATE_123_456_lab.ipynb. Moodle: Ada Smith_123_assignsubmission_file_/lab.ipynb, also without folders.
_CANVAS = re.compile(r"(?P<name>[^_/]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_.+", re.DOTALL)
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A file as it lies in a folder or an archive; `refused` says why its content is not looked at."""

    name: str
    source: Path
    member: int | None = None
    submitted: str | None = None
    refused: Flag | None = None

    def read(self) -> bytes:
        """Return the content, at most 20 MB; raises LabError if it is refused, damaged or too large."""
        if self.refused:
            raise LabError(self.refused.text)
        return read_bytes(self.source) if self.member is None else _read_member(self.source, self.member)


@dataclass(frozen=True)
class Submission:
    """One file, and whose it is: `file` is unique, `student` is the same for all files of a student."""

    file: str
    student: str
    name: str
    entry: Entry
    marked_late: bool | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def submitted(self) -> str | None:
        """When the file was changed last, in ISO form; without an offset if the archive knows none."""
        return self.entry.submitted

    def read(self) -> bytes:
        """Return the content, at most 20 MB; raises LabError if it is refused, damaged or too large."""
        return self.entry.read()


@dataclass(frozen=True)
class Person:
    """Whom a file name speaks of, before the roster is asked; `number` is set only if an LMS wrote it."""

    words: tuple[str, ...]
    name: str
    number: str | None = None
    marked_late: bool | None = None


def collect(source: str | Path, *, roster: Roster | None = None) -> list[Submission]:
    """Return one submission for each file in a folder, a zip archive or a single file, in the order of their names.

    Recognised are the archives of Canvas and Moodle, packed or unpacked; in any other folder a file belongs to the
    student whose folder it is in, or whose id or name it bears. Links are not followed, archives inside are not
    opened, and what cannot be read still has its row. Left out is only what computers add by themselves (DEBRIS).
    Raises LabError if the source does not exist, is a damaged archive or holds nothing or more than 5,000 files.
    """
    entries = sorted(_entries(Path(source)), key=lambda entry: entry.name)
    if not entries:
        raise LabError(f"{source} holds no files")
    people = _people([entry.name for entry in entries])
    found = [_submission(entry, person, roster) for entry, person in zip(entries, people, strict=True)]
    return _flag_several(_unique_ids(_unique_files(found)))


def single(path: str | Path) -> Submission:
    """Return one file as a submission of a student with the name of the file; it need not even exist."""
    path = Path(path)
    entry = _file(path, path.name)
    return Submission(visible(path.name, limit=MAX_NAME), visible(path.stem, limit=MAX_NAME), visible(path.stem), entry)


def begin(
    submission: Submission,
    *,
    points: dict[str, float],
    assignment: str,
    environment: str,
    rung: str = "",
    status: str = "unreadable",
) -> Result:
    """Return the result of a file before any of it is scored: whose it is, its hash, and no points.

    A file that cannot be read has the hash of an empty file and a flag "unreadable" that says why.
    """
    s, flags, content = submission, submission.flags, b""
    try:
        content = s.read()
    except LabError as error:
        reason = Flag("unreadable", None, visible(str(error)))
        flags = flags if s.entry.refused else (*flags, reason)
    digest = hashlib.sha256(content).hexdigest()
    blank = Result(s.file, s.student, s.name, digest, assignment, environment, status, dict(points))
    return replace(blank, flags=list(flags), submitted=s.submitted, marked_late=s.marked_late, rung=rung)


def _entries(source: Path) -> list[Entry]:
    if source.is_dir():
        walk: Iterable[Entry] = _folder(source, "", 0)
    elif source.suffix.casefold() == ".zip" and source.is_file():
        walk = _archive(source)
    elif source.exists():
        walk = [_file(source, source.name)]
    else:
        raise LabError(f"{source} does not exist")
    entries = list(itertools.islice((e for e in walk if not DEBRIS.search(e.name)), MAX_ENTRIES + 1))
    if len(entries) > MAX_ENTRIES:
        raise LabError(f"{source} holds more than {MAX_ENTRIES:,} files")
    return entries


def _folder(folder: Path, prefix: str, depth: int) -> Iterator[Entry]:
    reason = f"folders are nested more than {MAX_DEPTH} deep" if depth > MAX_DEPTH else ""
    children: list[os.DirEntry[str]] = []
    try:
        children = sorted(os.scandir(folder), key=lambda child: child.name)
    except OSError as error:
        reason = f"the folder cannot be opened: {error.strerror}"
    if reason:
        yield Entry(prefix or folder.name, folder, refused=Flag("unreadable", None, reason))
        return
    for child in children:
        name = prefix + child.name
        if child.is_dir(follow_symlinks=False):
            yield from _folder(Path(child.path), f"{name}/", depth + 1)
        else:
            yield _file(Path(child.path), name)


def _file(path: Path, name: str) -> Entry:
    try:
        info = path.lstat()
    except (OSError, ValueError):  # it is gone, or never was: reading it says so
        return Entry(name, path)
    when = datetime.fromtimestamp(int(info.st_mtime), UTC).isoformat() if 0 < info.st_mtime < 2**33 else None
    if stat.S_ISLNK(info.st_mode):
        refused: Flag | None = Flag("special", None, "a symbolic link, which is not followed")
    elif not stat.S_ISREG(info.st_mode):
        refused = Flag("special", None, "not a regular file")
    else:
        refused = _refused(name, info.st_size)
    return Entry(name, path, submitted=when, refused=refused)


def _archive(source: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LabError(f"{source} is not a zip archive that can be read: {error}") from error
    for i, member in enumerate(members):
        if not member.is_dir():
            name = _member_name(member)
            yield Entry(
                name, source, i, _member_time(member), _refused_member(member) or _refused(name, member.file_size)
            )


def _refused(name: str, size: int) -> Flag | None:
    if size > MAX_BYTES:
        return Flag("too-large", None, f"{size:,} bytes; at most {MAX_BYTES:,} are read")
    if name.casefold().endswith(ARCHIVES):
        return Flag("archive", None, "an archive, which is not opened")
    return None


def _refused_member(member: zipfile.ZipInfo) -> Flag | None:
    mode = member.external_attr >> 16
    if member.flag_bits & 1:
        return Flag("encrypted", None, "encrypted with a password")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Flag("special", None, "a symbolic link or a special file, which is not followed")
    if member.file_size > 1_000_000 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return Flag("too-large", None, f"a zip bomb: {member.compress_size:,} bytes unpack to {member.file_size:,}")
    return None


def _read_member(source: Path, index: int) -> bytes:
    """Unpack one member; its declared size is not believed."""
    try:
        with zipfile.ZipFile(source) as archive, archive.open(archive.infolist()[index]) as file:
            content = file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError) as error:
        raise LabError(f"damaged in the archive: {error}") from error
    if len(content) > MAX_BYTES:
        raise LabError(f"more than {MAX_BYTES:,} bytes")
    return content


def _member_name(member: zipfile.ZipInfo) -> str:
    """Return the name of a member: many programs write UTF-8 and forget to say so."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _member_time(member: zipfile.ZipInfo) -> str | None:
    """Return the local time in an archive, or None for the first day of the format, which means none."""
    try:
        when = datetime(*member.date_time)
    except ValueError:
        return None
    return None if when.year <= 1980 else when.isoformat()


def _people(names: list[str]) -> list[Person]:
    """Return whom each name speaks of; one folder around everything is no student."""
    split = [PurePosixPath(name.replace("\\", "/")).parts for name in names]
    parts = [[part for part in path if part not in ("/", "..")] or ["file"] for path in split]
    around = {p[0] for p in parts}
    inner = [p[1:] for p in parts]
    if len(around) > 1 or not all(inner) or _moodle(*around):
        return [_person(p) for p in parts]
    from_lms = (len(inner[0]) == 1 and _CANVAS.fullmatch(inner[0][0])) or _moodle(inner[0][0])
    return [_person(p) for p in (inner if from_lms or len(parts) > 1 else parts)]


def _person(parts: list[str]) -> Person:
    """Read a person from the part that the LMS wrote, so that a student's own file name has no say."""
    first, *more = parts
    if not more and (match := _CANVAS.fullmatch(first)):
        return Person((match["id"],), match["name"], match["id"], match["late"] is not None)
    match = _moodle(first)
    if match and (not more or not match["rest"]):
        return Person((match["id"],), match["name"], match["id"])
    own = first if more else PurePosixPath(first).stem
    return Person((own, *re.split(r"[\s_]+", own)), own)


def _moodle(part: str) -> re.Match[str] | None:
    return _MOODLE.fullmatch(part)


def _submission(entry: Entry, person: Person, roster: Roster | None) -> Submission:
    student, flag = _match(person, roster) if roster else (None, None)
    key = student.id if student else person.number or person.name
    if roster and not student and key.casefold() in {other.id.casefold() for other in roster.students}:
        key = f"unmatched-{key}"
    name = visible(student.name if student else person.name, limit=MAX_NAME)
    flags = tuple(one for one in (entry.refused, *_name_flags(entry), flag) if one)
    return Submission(visible(entry.name), visible(key), name, entry, person.marked_late, flags)


def _match(person: Person, roster: Roster) -> tuple[Student | None, Flag | None]:
    """Return the student in the roster and what a person should know about the match."""
    whole, *parts = person.words
    by_key, by_name = roster.with_key(whole), roster.with_name(person.name)
    by_part = {student for part in parts if (student := roster.with_key(part))}
    if by_key and person.number and not name_keys(by_key.name) & name_keys(person.name):
        text = f"number {person.number} is {by_key.name} in the roster, but the file is of {person.name}"
        return None, Flag("unmatched", None, visible(text))
    if by_key:
        return by_key, None
    if by_name:
        return by_name, Flag("matched-by-name", None, "found in the roster by name only")
    if len(by_part) == 1:
        return by_part.pop(), Flag("matched-by-part", None, "found in the roster by one word of the file name only")
    return None, Flag("unmatched", None, "several students of the roster fit" if by_part else "not in the roster")


def _name_flags(entry: Entry) -> Iterator[Flag]:
    name = entry.name
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or visible(name) != name:
        yield Flag("odd-name", None, "a file name with '..', a leading '/' or characters that cannot be seen")
    if len(name) > MAX_NAME:
        yield Flag("odd-name", None, f"a file name of {len(name)} characters")
    if not name.casefold().endswith(".ipynb") and not entry.refused:
        yield Flag("not-ipynb", None, "the file name does not end in .ipynb; the file is read nevertheless")


def _unique_files(found: list[Submission]) -> list[Submission]:
    """Shorten long names and number those that are given twice."""
    count: Counter[str] = Counter()
    result = []
    for submission in found:
        name = _shortened(submission.file)
        count[name] += 1
        if count[name] > 1:
            flag = Flag("same-name", None, "the archive holds several files of this name")
            submission = replace(submission, flags=(*submission.flags, flag))
            name = f"{name} ({count[name]})"
        result.append(replace(submission, file=name))
    return result


def _shortened(name: str) -> str:
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 20]}…{digest}"


def _unique_ids(found: list[Submission]) -> list[Submission]:
    """Shorten long ids; two that differ only in their case or their end stay two."""
    taken: dict[str, str] = {}
    result = []
    for submission in found:
        wanted = _shortened(submission.student)
        numbers = (wanted if i == 1 else f"{wanted}-{i}" for i in itertools.count(1))
        student = next(n for n in numbers if taken.setdefault(n.casefold(), submission.student) == submission.student)
        result.append(replace(submission, student=student))
    return result


def _flag_several(found: list[Submission]) -> list[Submission]:
    groups = defaultdict(list)
    for submission in found:
        groups[submission.student].append(submission.file)
    return [_with_others(submission, len(groups[submission.student])) for submission in found]


def _with_others(submission: Submission, n: int) -> Submission:
    if n == 1:
        return submission
    flag = Flag("several-files", None, f"{n} files of this student; the one with the most points counts")
    return replace(submission, flags=(*submission.flags, flag))
