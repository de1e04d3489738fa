"""The provider ``password_file``: users and their argon2id hashes in a text file, and the editing of that file.

Format: UTF-8, one ``name:hash`` a line, blank lines and lines that begin with ``#`` left alone. The file is looked at
on :meth:`PasswordFile.open`, on :meth:`PasswordFile.reload` and before every check of a password, and read when its
inode, size or times have changed; so an edit counts for the next connection, and an edit that breaks the file
changes nothing but the log. Connections that are already open stay open.

Invariants: hashing and reading happen in a bounded pool of threads, never on the event loop; a name that is not in
the file costs as much time as one that is; an edit replaces the file as a whole or not at all, and others
may not read it. Waiting checks are bounded by the listeners' limit on connections: a connection that is gone gives its
place up. Passwords are not cached. What a user may do is the business of ``broker.acl``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, TypeVarTuple

import msgspec

from broker.auth import AuthProvider, Decision
from core.errors import ConfigError
from core.message import Publisher
from core.registry import did_you_mean

if TYPE_CHECKING:
    from argon2 import PasswordHasher

logger = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# The second choice of RFC 9106 in OWASP's measure: some 20 ms and 19 MiB a check. One lane, because the pool is
# what uses the cores: a fleet that reconnects at once must not wait behind a few connections.
_TIME_COST: Final = 2
_MEMORY_COST: Final = 19_456  # KiB
_HASH = re.compile(r"\$argon2id\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+").fullmatch
_FORBIDDEN_IN_NAME = re.compile(r"[:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


class _Users(NamedTuple):
    """One reading of the file. ``dummy`` is the hash of no password, as costly as most of the users'."""

    stamp: tuple[int, ...]
    hashes: dict[str, str]
    dummy: str


class PasswordFile(AuthProvider):
    """Knows the users of one file: ALLOW with the right password, DENY with a wrong one, else ABSTAIN."""

    class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
        """One file."""

        path: str
        """Made and changed by ``headrace users``; read again when it has changed."""
        threads: int = 0
        """Passwords checked at a time: argon2 is slow on purpose. 0: one per core."""

        def __post_init__(self) -> None:
            if not self.path:
                raise ValueError("`path` is empty")
            if not 0 <= self.threads <= 256:
                raise ValueError("`threads` must be from 0 to 256")

    def __init__(self, config: Config, base_dir: Path) -> None:
        super().__init__(config, base_dir)
        self.path = base_dir / config.path
        self._threads = config.threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._users: _Users | None = None
        self._complaint = ""

    async def open(self) -> None:
        """Read the file; ConfigError with file and line where that cannot be."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="password_file")
        self._users = await self._run(_read_users, self.path)

    async def reload(self) -> None:
        """Read the file again if it has changed; ConfigError, and the users as they were, where it is bad now."""
        users = self._users
        stamp = await self._run(_stamp_of, self.path)
        if users is None or stamp != users.stamp:
            self._users = await self._run(_read_users, self.path)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Decision:
        """The password of ``publisher.username``; without a username ABSTAIN, without a password never ALLOW."""
        if publisher.username is None:
            return Decision.ABSTAIN
        return await self._run(self._check, publisher.username, password)

    async def _run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        if self._pool is None:
            raise ConfigError("the password file is not open", file=str(self.path))
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def _check(self, name: str, password: bytes | None) -> Decision:
        """Runs in the pool."""
        users = self._current()
        known = users.hashes.get(name)
        if password is None:
            right = False
        else:
            right = _verify(known or users.dummy, password, name)
        if known is None:
            return Decision.ABSTAIN
        return Decision.ALLOW if right else Decision.DENY

    def _current(self) -> _Users:
        """The users by the file as it is now, or by its last good reading; runs in the pool."""
        users = self._users
        if users is None:
            raise ConfigError("the password file was never read", file=str(self.path))
        try:
            if _stamp_of(self.path) != users.stamp:
                users = self._users = _read_users(self.path)
            self._complaint = ""
        except ConfigError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.error("%s; the users read before stay valid", error)  # noqa: TRY400 - the text says it all
        return users


def _verify(encoded: str, password: bytes, name: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    try:
        return PasswordHasher().verify(encoded, password)
    except VerifyMismatchError:
        return False
    except (InvalidHashError, VerificationError) as error:
        logger.error("the hash of user %r cannot be checked: %s", name, error)  # noqa: TRY400
        return False


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_COST, parallelism=1)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        return _identity(path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    hint = "create it with `headrace users add NAME`" if isinstance(error, FileNotFoundError) else None
    return ConfigError(f"cannot be read: {error.strerror}", file=str(path), hint=hint)


class _Line(NamedTuple):
    number: int
    name: str
    encoded: str


def _lines(path: Path, content: bytes) -> Iterator[_Line]:
    """The users' lines of a file; ConfigError at the first that is none or names a user again."""
    seen: dict[str, int] = {}
    for number, raw in enumerate(content.split(b"\n"), 1):
        try:
            line = raw.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise ConfigError("is not UTF-8", file=str(path), line=number) from error
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, encoded = line.partition(":")
        if not colon or not name or _FORBIDDEN_IN_NAME(name):
            raise ConfigError("expected name:hash", file=str(path), line=number)
        if not _HASH(encoded):
            # The text after the colon may be somebody's plain password: it is never shown.
            raise ConfigError(
                f"the hash of user {name!r} is not argon2id",
                file=str(path),
                line=number,
                hint="write it with `headrace users add NAME`",
            )
        if name in seen:
            raise ConfigError(f"user {name!r} is in line {seen[name]} already", file=str(path), line=number)
        seen[name] = number
        yield _Line(number, name, encoded)


def _read_users(path: Path) -> _Users:
    try:
        with path.open("rb") as file:
            stamp = _identity(os.fstat(file.fileno()))
            content = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    hashes = {line.name: line.encoded for line in _lines(path, content)}
    return _Users(stamp, hashes, _dummy(hashes.values()))


def _dummy(hashes: Collection[str]) -> str:
    """The hash of an unknown password, with the parameters that most of ``hashes`` have."""
    from argon2 import PasswordHasher, extract_parameters
    from argon2.exceptions import HashingError

    # The text up to the salt is the parameters; any hash with the commonest will do as their sample.
    samples = {encoded.rsplit("$", 2)[0]: encoded for encoded in hashes}
    counts = Counter(encoded.rsplit("$", 2)[0] for encoded in hashes)
    for kind, _ in counts.most_common():
        with contextlib.suppress(HashingError, ValueError):
            return PasswordHasher.from_parameters(extract_parameters(samples[kind])).hash(secrets.token_bytes(16))
    return _hasher().hash(secrets.token_bytes(16))


def list_users(path: Path) -> list[str]:
    """The names in the file, in its order; ConfigError where it cannot be read or is malformed."""
    return [line.name for line in _lines(path, _content(path))]


def add_user(path: Path, name: str, password: str | bytes) -> bool:
    """Give ``name`` this password, in a new file if there is none; False if it replaces an earlier one.

    ConfigError for a name or password that cannot be, and for a malformed or unwritable file, which stays as it is.
    """
    if not name or name.startswith("#") or name != name.strip() or _FORBIDDEN_IN_NAME(name):
        raise ConfigError(
            f"{name!r} is no user name",
            hint="at least one character, no colon or control character, no '#' or blank in front, no blank at the end",
        )
    try:
        secret = password.encode() if isinstance(password, str) else password
    except UnicodeEncodeError as error:
        raise ConfigError("the password is not UTF-8") from error
    if not secret or len(secret) > 65_535:
        raise ConfigError("a password takes from 1 to 65535 bytes (MQTT-3.1.3.6)")
    entry = f"{name}:{_hasher().hash(secret)}".encode()
    with _edited(path, create=True) as lines:
        number = _number_of(path, lines, name)
        if number is not None:
            lines[number] = entry
            return False
        while lines and not lines[-1].strip():
            lines.pop()
        lines.append(entry)
        return True


def delete_user(path: Path, name: str) -> None:
    """Remove ``name``; ConfigError where it is not there, or as for :func:`add_user`."""
    with _edited(path, create=False) as lines:
        number = _number_of(path, lines, name)
        if number is None:
            known = [line.name for line in _lines(path, b"\n".join(lines))]
            raise ConfigError(f"there is no user {name!r}", file=str(path), hint=did_you_mean(name, known))
        del lines[number]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _number_of(path: Path, lines: list[bytes], name: str) -> int | None:
    """The index of the user's line; every line is checked on the way."""
    found = [line.number - 1 for line in list(_lines(path, b"\n".join(lines))) if line.name == name]
    return found[0] if found else None


@contextlib.contextmanager
def _edited(path: Path, *, create: bool) -> Iterator[list[bytes]]:
    """The file's lines to be changed in place, written back when the block ends well, one editor at a time."""
    path = Path(os.path.realpath(path))  # a link stays a link
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"the folder cannot be opened: {error.strerror}", file=str(path.parent)) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lines = [] if create and not path.exists() else _content(path).split(b"\n")
        yield lines
        try:
            content = b"\n".join(lines).rstrip(b"\n")
            _replace(path, folder, content and content + b"\n")
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from error
    finally:
        os.close(folder)


def _replace(path: Path, folder: int, content: bytes) -> None:
    """Put ``content`` in the place of ``path``, on disk when this returns.

    Mode 0600; of an earlier file its owner is kept and its group's right to read, as root may edit what the
    service's own user reads.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                before = path.stat()
                os.fchown(file, before.st_uid, before.st_gid)
                os.fchmod(file, 0o600 | before.st_mode & 0o040)
            with open(file, "wb", closefd=False) as stream:
                stream.write(content)
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(path)
        os.fsync(folder)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
