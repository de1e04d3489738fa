"""The password file: who is known, what an edit leaves behind, and that bad files are told by their line."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import argon2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import password_file
from broker.auth import Decision
from broker.password_file import PasswordFile, add_user, delete_user, list_users
from core.errors import ConfigError
from core.message import Publisher

CHEAP: dict[str, Any] = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_file, "_hasher", lambda: argon2.PasswordHasher(**CHEAP))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users.passwd"
    add_user(path, "alice", "right")
    return path


@pytest.fixture
async def provider(path: Path) -> AsyncIterator[PasswordFile]:
    provider = PasswordFile(PasswordFile.Config(path=path.name), path.parent)
    await provider.open()
    yield provider
    await provider.close()


def client(username: str | None) -> Publisher:
    return Publisher("c", username=username)


@pytest.mark.parametrize(
    ("username", "password", "expected"),
    [
        ("alice", b"right", Decision.ALLOW),
        ("alice", b"wrong", Decision.DENY),
        ("alice", b"", Decision.DENY),
        ("alice", b"right\x00", Decision.DENY),
        ("alice", None, Decision.DENY),
        ("bob", b"right", Decision.ABSTAIN),
        ("bob", None, Decision.ABSTAIN),
        ("Alice", b"right", Decision.ABSTAIN),
        ("", b"right", Decision.ABSTAIN),
        (None, b"right", Decision.ABSTAIN),
        (None, None, Decision.ABSTAIN),
    ],
)
async def test_who_is_known(
    provider: PasswordFile, username: str | None, password: bytes | None, expected: Decision
) -> None:
    assert await provider.authenticate(client(username), password) is expected


async def test_hashing_leaves_the_event_loop_alone(provider: PasswordFile, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def verify(*_: Any) -> bool:
        threads.add(threading.current_thread().name)
        return True

    monkeypatch.setattr(password_file, "_verify", verify)
    answers = await asyncio.gather(*(provider.authenticate(client("alice"), b"x") for _ in range(50)))
    assert set(answers) == {Decision.ALLOW}
    assert 1 <= len(threads) <= (os.cpu_count() or 1)
    assert all(name.startswith("password_file") for name in threads)


async def test_an_unknown_user_costs_a_check_of_the_same_kind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costly = argon2.PasswordHasher(time_cost=3, memory_cost=64, parallelism=2)
    path.write_text("".join(f"u{number}:{costly.hash('x')}\n" for number in range(2)) + path.read_text())
    provider = PasswordFile(PasswordFile.Config(path=str(path)), Path("/nowhere"))
    await provider.open()
    checked: list[str] = []

    def verify(encoded: str, password: bytes, name: str) -> bool:
        checked.append(encoded)
        return False

    monkeypatch.setattr(password_file, "_verify", verify)
    for name in ("u1", "nobody"):
        await provider.authenticate(client(name), b"guess")
    await provider.close()
    known, unknown = (argon2.extract_parameters(encoded) for encoded in checked)
    assert known == unknown


async def test_an_edit_counts_for_the_next_connection(provider: PasswordFile, path: Path) -> None:
    add_user(path, "bob", "secret")
    add_user(path, "alice", "changed")
    assert await provider.authenticate(client("bob"), b"secret") is Decision.ALLOW
    assert await provider.authenticate(client("alice"), b"right") is Decision.DENY
    assert await provider.authenticate(client("alice"), b"changed") is Decision.ALLOW
    delete_user(path, "bob")
    assert await provider.authenticate(client("bob"), b"secret") is Decision.ABSTAIN


async def test_an_unchanged_file_is_not_read_again(provider: PasswordFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_file, "_read_users", lambda path: pytest.fail("read again"))
    await provider.reload()
    assert await provider.authenticate(client("alice"), b"right") is Decision.ALLOW


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("rubbish\n"), Path.unlink])
async def test_an_edit_that_breaks_the_file_changes_nothing_but_the_log(
    provider: PasswordFile, path: Path, spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(path)
    for _ in range(3):
        assert await provider.authenticate(client("alice"), b"right") is Decision.ALLOW
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(path) in record.getMessage()
    assert "the users read before stay valid" in record.getMessage()
    with pytest.raises(ConfigError, match=r"users\.passwd"):
        await provider.reload()
    path.unlink(missing_ok=True)
    add_user(path, "alice", "again")
    await provider.reload()
    assert await provider.authenticate(client("alice"), b"again") is Decision.ALLOW


HASH = argon2.PasswordHasher(**CHEAP).hash("x", salt=bytes(16))  # the same every time: it is in names of tests


@pytest.mark.parametrize(
    ("content", "line", "text"),
    [
        (f"ok:{HASH}\nalice\n", 2, "expected name:hash"),
        (f":{HASH}\n", 1, "expected name:hash"),
        (f"a\tb:{HASH}\n", 1, "expected name:hash"),
        ("alice:secret\n", 1, "the hash of user 'alice' is not argon2id"),
        ("alice:$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAA\n", 1, "not argon2id"),
        (f"alice:{HASH} \n", 1, "not argon2id"),
        (f"alice:{HASH}\n\n# alice\nalice:{HASH}\n", 4, "user 'alice' is in line 1 already"),
        (b"ok:" + HASH.encode() + b"\n\xff:x\n", 2, "is not UTF-8"),
    ],
)
async def test_a_malformed_line_is_told_by_its_number(
    tmp_path: Path, content: str | bytes, line: int, text: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    provider = PasswordFile(PasswordFile.Config(path="bad"), tmp_path)
    with pytest.raises(ConfigError) as caught:
        await provider.open()
    await provider.close()
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f":{line}"):
        add_user(path, "new", "x")
    assert path.read_bytes() == before


async def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    provider = PasswordFile(PasswordFile.Config(path="absent"), tmp_path)
    with pytest.raises(ConfigError, match="headrace users add NAME"):
        await provider.open()
    await provider.close()
    with pytest.raises(ConfigError, match="not open"):
        await provider.authenticate(client("alice"), b"x")


async def test_a_hash_that_cannot_be_checked_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "odd").write_text("alice:$argon2id$v=19$m=8,t=1,p=1$A$A\n")
    provider = PasswordFile(PasswordFile.Config(path="odd"), tmp_path)
    await provider.open()
    assert await provider.authenticate(client("alice"), b"x") is Decision.DENY
    await provider.close()
    assert "the hash of user 'alice' cannot be checked" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"path": ""}, {"path": "a", "threads": -1}, {"path": "a", "cache": True}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, PasswordFile.Config)


def test_adding_replacing_listing_deleting(tmp_path: Path) -> None:
    path = tmp_path / "users"
    assert add_user(path, "alice", "one")
    assert add_user(path, "größe 7", b"two")
    assert not add_user(path, "alice", "three")
    assert list_users(path) == ["alice", "größe 7"]
    delete_user(path, "alice")
    assert list_users(path) == ["größe 7"]
    delete_user(path, "größe 7")
    assert list_users(path) == []
    assert path.read_bytes() == b""


def test_the_cost_of_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    add_user(tmp_path / "users", "alice", "x")
    assert (tmp_path / "users").read_text().startswith("alice:$argon2id$v=19$m=19456,t=2,p=1$")


def test_hashes_are_salted_and_carry_no_password(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "a", "same-password")
    add_user(path, "b", "same-password")
    first, second = (line.partition(":")[2] for line in path.read_text().splitlines())
    assert first != second
    assert "same-password" not in path.read_text()
    assert first.startswith("$argon2id$")


def test_comments_and_order_survive_an_edit(path: Path) -> None:
    path.write_text("# stations\n\n" + path.read_text() + "# ops\n\n\n")
    add_user(path, "bob", "x")
    add_user(path, "alice", "y")
    lines = [line.partition(":")[0] for line in path.read_text().splitlines()]
    assert lines == ["# stations", "", "alice", "# ops", "bob"]
    delete_user(path, "bob")
    assert path.read_text().endswith("# ops\n")


def test_only_the_owner_may_read_and_a_group_that_could(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add_user(path, "alice", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o664)
    add_user(path, "bob", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)
    add_user(link, "bob", "x")
    assert link.is_symlink()
    assert list_users(path) == ["alice", "bob"]


def test_an_edit_that_fails_leaves_the_file_and_no_draft(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        add_user(path, "bob", "x")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_editors_at_the_same_time_lose_nothing(path: Path) -> None:
    names = [f"user-{number}" for number in range(12)]
    editors = [threading.Thread(target=add_user, args=(path, name, "x")) for name in names]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join()
    assert sorted(list_users(path)) == sorted(["alice", *names])


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a ", "a\nb", "a\x00", "\u2028", "\udcff"])
def test_a_name_that_cannot_be(path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no user name"):
        add_user(path, name, "x")


@pytest.mark.parametrize("password", ["", b"", "x" * 65_536, "\udcff"])
def test_a_password_that_cannot_be(path: Path, password: str | bytes) -> None:
    with pytest.raises(ConfigError, match="password"):
        add_user(path, "bob", password)


def test_who_is_not_there(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'alice'"):
        delete_user(path, "alcie")
    for function in (list_users, lambda path: delete_user(path, "alice")):
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            function(tmp_path / "absent")
    with pytest.raises(ConfigError, match="the folder cannot be opened"):
        add_user(tmp_path / "absent" / "users", "alice", "x")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@given(name=st.text(max_size=20))
def test_every_accepted_name_comes_back(scratch: Path, name: str) -> None:
    path = scratch / "users"
    path.unlink(missing_ok=True)
    try:
        add_user(path, name, "x")
    except ConfigError:
        assert not path.exists()
        return
    assert list_users(path) == [name]
