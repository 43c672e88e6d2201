"""Intake: archives of Canvas and Moodle, odd names, traps in archives and folders, and the roster."""

import os
import socket
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.grading.errors import LabError
from labkit.grading.intake import MAX_ENTRIES, MAX_NAME, Submission, begin, collect
from labkit.grading.notebook import MAX_BYTES
from labkit.grading.roster import name_keys, read_roster, read_table
from labkit.grading.text import slug, visible

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
TIME = (2026, 11, 20, 23, 58, 0)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo("placeholder", TIME)
            info.filename = name  # as it is: ZipInfo would tidy the name
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def roster(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def kinds(submission: Submission) -> list[str]:
    return [flag.kind for flag in submission.flags]


def test_canvas_archive(tmp_path: Path) -> None:
    source = archive(
        tmp_path / "class.zip",
        {
            "kingada_123_456_lab 5.ipynb": b"a",
            "müllerzoë_LATE_124_457_lab_5-1.ipynb": b"b",
            "o'brien-x_9_8_.ipynb": b"c",
        },
    )
    ada, zoe, last = collect(source)
    assert (ada.student, ada.name, ada.marked_late) == ("123", "kingada", False)
    assert (zoe.student, zoe.marked_late, zoe.submitted) == ("124", True, "2026-11-20T23:58:00")
    assert (last.student, last.read()) == ("9", b"c")


@pytest.mark.parametrize("packed", [True, False])
def test_moodle_folders(tmp_path: Path, packed: bool) -> None:
    names = {"Ada King_77_assignsubmission_file_/lab.ipynb": b"a", "Zoë_78_assignsubmission_file_/x/y.ipynb": b"b"}
    if packed:
        source = archive(tmp_path / "class.zip", names)
    else:
        source = tmp_path / "class"
        for name, content in names.items():
            (source / name).parent.mkdir(parents=True)
            (source / name).write_bytes(content)
    assert [(s.student, s.name, s.marked_late) for s in collect(source)] == [
        ("77", "Ada King", None),
        ("78", "Zoë", None),
    ]


def test_moodle_without_folders(tmp_path: Path) -> None:
    source = archive(tmp_path / "c.zip", {"Ada King_77_assignsubmission_file_lab.ipynb": b"a"})
    assert collect(source)[0].student == "77"


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("evil_1_2_Victim_9_assignsubmission_file_x.ipynb", "1"),  # Canvas wrote the beginning
        ("evil_LATE_1_2_victim_3_4_x.ipynb", "1"),
        ("Evil_1_assignsubmission_file_/victim_3_4_x.ipynb", "1"),  # Moodle wrote the folder
        ("Evil_1_assignsubmission_file_Victim_9_assignsubmission_file_x.ipynb", "1"),
        ("evil/victim_3_4_lab.ipynb", "evil"),  # a folder for each student
    ],
)
def test_a_students_own_file_name_has_no_say(tmp_path: Path, name: str, student: str) -> None:
    source = archive(tmp_path / "c.zip", {name: b"a", "other_5_6_x.ipynb": b"b"})
    assert student in [s.student for s in collect(source)]
    assert {"3", "9"}.isdisjoint(s.student for s in collect(source))


def test_plain_folder_with_one_folder_around(tmp_path: Path) -> None:
    source = archive(tmp_path / "c.zip", {"class/ada.ipynb": b"a", "class/bob.ipynb": b"b"})
    assert [s.student for s in collect(source)] == ["ada", "bob"]


def test_single_file_and_time(tmp_path: Path) -> None:
    path = tmp_path / "ada.ipynb"
    path.write_bytes(b"{}")
    os.utime(path, (1_800_000_000, 1_800_000_000))
    (only,) = collect(path)
    assert (only.file, only.student, only.submitted) == ("ada.ipynb", "ada", "2027-01-15T08:00:00+00:00")
    assert only.read() == b"{}"


def test_every_kind_of_file_has_its_row(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.ipynb").write_bytes(b"a")
    (folder / "deep" / "b.txt").write_bytes(b"b")
    (folder / "link.ipynb").symlink_to("/etc/passwd")
    (folder / "linked-folder").symlink_to("/etc")
    (folder / "c.zip").write_bytes(b"PK")
    os.mkfifo(folder / "pipe.ipynb")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        with (folder / "large.ipynb").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        found = {s.file: s for s in collect(folder)}
    assert {name: kinds(s)[0] if s.flags else "" for name, s in found.items()} == {
        "a.ipynb": "",
        "c.zip": "archive",
        "deep/b.txt": "not-ipynb",
        "large.ipynb": "too-large",
        "link.ipynb": "special",
        "linked-folder": "special",
        "pipe.ipynb": "special",
        "socket": "special",
    }
    for name in ("c.zip", "large.ipynb", "link.ipynb", "linked-folder", "pipe.ipynb", "socket"):
        with pytest.raises(LabError):
            found[name].read()


def test_traps_in_archives(tmp_path: Path) -> None:
    source = archive(
        tmp_path / "c.zip",
        {
            "../../etc/cron.d/x.ipynb": b"a",
            "/abs.ipynb": b"b",
            "C:\\x\\win.ipynb": b"c",
            "bomb.ipynb": bytes(15_000_000),
            "n" * 3000 + ".ipynb": b"d",
            "inner.zip": b"PK",
            "__MACOSX/._a.ipynb": b"junk",
            "a\nb\x1b[31m.ipynb": b"e",
        },
    )
    found = {s.file: s for s in collect(source)}
    assert len(found) == 7, "all but the debris of macOS"
    assert "too-large" in kinds(found["bomb.ipynb"])
    assert "archive" in kinds(found["inner.zip"])
    assert "odd-name" in kinds(found["../../etc/cron.d/x.ipynb"])
    assert "odd-name" in kinds(found["/abs.ipynb"])
    assert "a\\nb\\x1b[31m.ipynb" in found
    assert all(len(name) <= MAX_NAME for name in found)
    assert list(tmp_path.iterdir()) == [source], "nothing is unpacked"


def test_a_member_that_is_larger_than_it_says(tmp_path: Path) -> None:
    source = archive(tmp_path / "c.zip", {"a.ipynb": os.urandom(2000)})
    content = bytearray(source.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = (10).to_bytes(4, "little")  # the size in the directory
    source.write_bytes(content)
    with pytest.raises(LabError, match="damaged"):
        collect(source)[0].read()


def test_encrypted_link_and_damaged_members(tmp_path: Path) -> None:
    source = tmp_path / "c.zip"
    with zipfile.ZipFile(source, "w") as file:
        link = zipfile.ZipInfo("link.ipynb", TIME)
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        file.writestr(zipfile.ZipInfo("bad.ipynb", TIME), b"some content")
        file.writestr(zipfile.ZipInfo("secret.ipynb", TIME), b"abc")
    content = bytearray(source.read_bytes())
    content[content.index(b"some content")] ^= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # the mark of encryption
    source.write_bytes(content)
    found = {s.file: s for s in collect(source)}
    assert kinds(found["link.ipynb"]) == ["special"]
    assert kinds(found["secret.ipynb"]) == ["encrypted"]
    with pytest.raises(LabError, match="damaged"):
        found["bad.ipynb"].read()
    result = begin(found["bad.ipynb"], points={"q1": 1.0}, assignment="a", environment="e")
    assert (result.status, [flag.kind for flag in result.flags]) == ("unreadable", ["unreadable"])


def test_names_in_utf8_without_the_mark_and_in_cp437(tmp_path: Path) -> None:
    source = archive(tmp_path / "c.zip", {"x1.ipynb": b"a", "y2.ipynb": b"b"})
    content = source.read_bytes().replace(b"x1.ipynb", "é.ipynb".encode()).replace(b"y2.ipynb", b"\x815.ipynb")
    source.write_bytes(content)
    assert {s.file for s in collect(source)} == {"é.ipynb", "ü5.ipynb"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_same_names_and_same_students(tmp_path: Path) -> None:
    source = tmp_path / "c.zip"
    with zipfile.ZipFile(source, "w") as file:
        for content in (b"1", b"2"):
            file.writestr(zipfile.ZipInfo("kingada_1_2_a.ipynb", TIME), content)
        file.writestr(zipfile.ZipInfo("kingada_1_3_b.ipynb", TIME), b"3")
    found = collect(source)
    assert [s.file for s in found] == ["kingada_1_2_a.ipynb", "kingada_1_2_a.ipynb (2)", "kingada_1_3_b.ipynb"]
    assert [s.read() for s in found] == [b"1", b"2", b"3"]
    assert {s.student for s in found} == {"1"}
    assert kinds(found[1]) == ["same-name", "several-files"]


def test_ids_that_differ_in_case_only(tmp_path: Path) -> None:
    source = archive(tmp_path / "c.zip", {"ada.ipynb": b"a", "Ada.ipynb": b"b"})
    assert [s.student for s in collect(source)] == ["Ada", "ada-2"]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_an_archive_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(LabError, match=r"c\.zip is not a zip archive"):
        collect(tmp_path / "c.zip")


def test_nothing_and_too_much(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="does not exist"):
        collect(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabError, match="holds no files"):
        collect(tmp_path / "empty")
    source = archive(tmp_path / "c.zip", {f"{i}.ipynb": b"" for i in range(MAX_ENTRIES + 1)})
    with pytest.raises(LabError, match="more than 5,000 files"):
        collect(source)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200),
        min_size=1,
        max_size=6,
    )
)
def test_any_names_at_all(tmp_path: Path, names: list[str]) -> None:
    source = tmp_path / "c.zip"
    with zipfile.ZipFile(source, "w") as file:
        for name in dict.fromkeys(names):
            info = zipfile.ZipInfo("x", TIME)
            info.filename = name
            file.writestr(info, b"content") if not name.endswith("/") else None
    try:
        found = collect(source)
    except LabError:
        return
    assert len({s.file for s in found}) == len(found)
    for s in found:
        assert s.file == visible(s.file)
        assert s.student == visible(s.student)
        assert len(s.file) <= MAX_NAME + 8
        if s.entry.refused is None:
            assert s.read() == b"content"


# The roster


def test_roster_matches_ids_logins_mail_and_names(tmp_path: Path) -> None:
    text = "\ufeffName;E-Mail;Login;Student ID\nAda King;a@x.org;aking;1\nBob Roe;b@x.org;broe;2\n"
    students = read_roster(roster(tmp_path / "r.csv", text))
    names = ["aking.ipynb", "2.ipynb", "a@x.org.ipynb", "lab_broe_final.ipynb", "King Ada.ipynb", "nobody.ipynb"]
    source = archive(tmp_path / "c.zip", dict.fromkeys(names, b""))
    found = {s.file: s for s in collect(source, roster=students)}
    assert [found[name].student for name in names] == ["1", "2", "1", "2", "1", "nobody"]
    assert "matched-by-name" in kinds(found["King Ada.ipynb"])
    assert "matched-by-part" in kinds(found["lab_broe_final.ipynb"])
    assert "unmatched" in kinds(found["nobody.ipynb"])
    assert found["aking.ipynb"].name == "Ada King"


def test_a_number_of_somebody_else_is_no_match(tmp_path: Path) -> None:
    path = roster(tmp_path / "r.csv", "id,name\n123,Ada King\n")
    (only,) = collect(archive(tmp_path / "c.zip", {"roebob_123_4_lab.ipynb": b""}), roster=read_roster(path))
    assert (only.student, kinds(only)) == ("unmatched-123", ["unmatched"])


def test_several_students_fit(tmp_path: Path) -> None:
    path = roster(tmp_path / "r.csv", "id,name\n1,Ada King\n2,King Ada\n")
    (only,) = collect(archive(tmp_path / "c.zip", {"adaking.ipynb": b""}), roster=read_roster(path))
    assert kinds(only) == ["unmatched"]


def test_exports_of_canvas_and_moodle_are_rosters(tmp_path: Path) -> None:
    canvas = 'Student,ID,SIS Login ID,Section,Lab 5 (9)\n"    Points Possible",,,,14\n"King, Ada",123,aking,A,\n'
    moodle = "Identifier,Full name,Email address,Grade\nParticipant 77,Ada King,ada@x.org,-\n"
    (ada,) = read_roster(roster(tmp_path / "c.csv", canvas)).students
    assert (ada.id, ada.name, ada.login) == ("123", "King, Ada", "aking")
    (ada,) = read_roster(roster(tmp_path / "m.csv", moodle)).students
    assert (ada.id, ada.email) == ("77", "ada@x.org")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("id,name\n", "no student"),
        ("mail,name\na,b\n", "no column for the id.*one of 'id'"),
        ("id,name\n1\n", "row 2: 1 cells, but the header line has 2"),
        ("id,name\n,Ada\n", "row 2: the id is empty"),
        ("id,name\nA1,Ada\na1,Bob\n", "row 3: the id 'a1' is given twice"),
        ('id,name\n"1,Ada\n', "not a CSV file"),
    ],
)
def test_bad_rosters(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        read_roster(roster(tmp_path / "r.csv", text))


def test_roster_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("id,name\n1,Zoë\n".encode("latin-1"))
    with pytest.raises(LabError, match="UTF-8"):
        read_table(tmp_path / "r.csv")


def test_name_keys_do_not_see_marks_and_order() -> None:
    assert name_keys("García, Zoë") & name_keys("zoe garcia")
    assert name_keys("de la Cruz Vega, María José") & name_keys("maria jose de la cruz vega")
    assert not name_keys("Ada King") & name_keys("Ada Kong")
    assert name_keys("...") == frozenset()


@given(st.text(), st.text())
def test_slugs_are_plain_and_apart(a: str, b: str) -> None:
    assert slug(a).replace("-", "").isalnum()
    assert slug(a).isascii()
    assert (slug(a) == slug(b)) == (a == b)
