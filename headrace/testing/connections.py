"""The contract suite of connections: opening, sharing and closing, and what a check says."""

# ruff: noqa: PT017, S101 - test code that lives in the package

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from connections.base import Connection, ConnectionContext
from core.errors import Unavailable

TIMEOUT = 60
"""Seconds that any one of the tests may take."""


class ConnectionContract:
    """What :class:`connections.base.Connection` promises. Implement :meth:`make_connection`."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """Texts of the settings that must never be shown, such as the password that ``make_connection`` uses."""

    def make_connection(self, context: ConnectionContext) -> Connection:
        """A connection to a far side that answers; called anew for every instance."""
        raise NotImplementedError

    def make_unreachable(self, context: ConnectionContext) -> Connection | None:
        """One to where nobody answers, with the same credentials; None where that cannot be."""
        del context
        return None

    # -- the tests ------------------------------------------------------------------------------------------------

    def test_it_is_a_connection_with_settings_of_its_own(self) -> None:
        connection = self.make_connection(self.context())
        assert isinstance(connection, Connection), f"{connection!r} is not a Connection"
        assert connection.type, "a connection has a type"
        assert isinstance(connection.config, connection.Config), "it was made from its Config"
        assert issubclass(connection.Config, msgspec.Struct)
        assert connection.Config.__struct_config__.forbid_unknown_fields, "unknown settings are errors"
        self.hides(repr(connection.config), str(connection), repr(connection))

    def test_a_check_answers_in_one_line_whether_it_is_open_or_not(self) -> None:
        async def use(connection: Connection) -> None:
            await self.answers(connection)
            user = object()
            await connection.join(user)
            await self.answers(connection)
            await self.answers(connection)
            await connection.leave(user)
            await self.answers(connection)

        self.run(use)

    def test_a_check_in_vain_says_why(self) -> None:
        async def use(connection: Connection) -> None:
            try:
                answer = await connection.check()
            except Unavailable as error:
                assert str(error).strip(), "a failed check has a reason"
                self.hides(str(error), repr(error), repr(error.__cause__))
            else:
                raise AssertionError(f"nobody is there, and yet: {answer!r}")

        self.run(use, self.make_unreachable)

    def test_a_cancelled_check_leaves_it_usable(self) -> None:
        async def use(connection: Connection) -> None:
            for turns in range(3):
                task = asyncio.ensure_future(connection.check())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self.answers(connection)

        self.run(use)

    def test_closing_twice_and_before_opening_is_harmless(self) -> None:
        async def use(connection: Connection) -> None:
            await connection.close()
            await connection.open()
            await connection.close()
            await connection.close()

        self.run(use)

    def test_it_is_open_as_long_as_anybody_uses_it(self) -> None:
        async def use(connection: Connection) -> None:
            calls = record(connection)
            one, other = object(), object()
            await asyncio.gather(connection.join(one), connection.join(other), connection.join(one))
            assert calls == ["open"]
            await connection.leave(one)
            await connection.leave(one)
            assert calls == ["open"], "the other one still uses it"
            await self.answers(connection)
            await connection.leave(other)
            assert calls == ["open", "close"]
            await connection.join(one)
            await self.answers(connection)
            await connection.leave(one)
            assert calls == ["open", "close", "open", "close"], "it opens again"

        self.run(use)

    # -- how they run ---------------------------------------------------------------------------------------------

    def context(self) -> ConnectionContext:
        return ConnectionContext(name="contract", base_dir=Path(tempfile.gettempdir()))

    def run(
        self,
        use: Callable[[Connection], Awaitable[None]],
        make: Callable[[ConnectionContext], Connection | None] | None = None,
    ) -> None:
        """Let ``use`` work with a connection, and close it whatever happens."""

        async def main() -> None:
            connection = (make or self.make_connection)(self.context())
            if connection is None:
                return
            try:
                async with asyncio.timeout(TIMEOUT):
                    await use(connection)
            finally:
                await connection.close()

        asyncio.run(main())

    async def answers(self, connection: Connection) -> None:
        """AssertionError unless a check answers in one line."""
        answer = await connection.check()
        assert answer.strip(), "a check says what answered"
        assert len(answer.splitlines()) == 1, f"a check answers in one line, not {answer!r}"
        self.hides(answer)

    def hides(self, *texts: str) -> None:
        """AssertionError if a secret is in one of ``texts``."""
        for text in texts:
            assert not any(secret in text for secret in self.secrets), f"a secret is shown: {text!r}"


def record(connection: Connection) -> list[str]:
    """The calls of ``open`` and ``close`` from now on."""
    calls: list[str] = []
    opens, closes = connection.open, connection.close

    async def open_() -> None:
        calls.append("open")
        await opens()

    async def close() -> None:
        calls.append("close")
        await closes()

    connection.open, connection.close = open_, close  # type: ignore[method-assign]
    return calls
