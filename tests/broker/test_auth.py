"""Who gets in and who decides: closed by default, providers in order, the access list last."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from broker.acl import Acl, AclRule
from broker.auth import AccessControl, Action, AuthProvider, Decision
from core.errors import ConfigError
from core.message import Publisher
from core.metrics import Metrics

ALICE = Publisher("c1", username="alice")
NOBODY = Publisher("c1")
ALLOW, DENY, ABSTAIN = Decision.ALLOW, Decision.DENY, Decision.ABSTAIN


class Scripted(AuthProvider):
    """Answers what it was told to and writes down what it was asked."""

    def __init__(self, decision: Decision | Exception, journal: list[Any] | None = None) -> None:
        super().__init__(self.Config(), Path())
        self.decision = decision
        self.journal = [] if journal is None else journal
        self.open_error: Exception | None = None

    def _answer(self, *question: Any) -> Decision:
        self.journal.append(question)
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision

    async def open(self) -> None:
        self.journal.append(("open", self.decision))
        if self.open_error:
            raise self.open_error

    async def close(self) -> None:
        self.journal.append(("close", self.decision))

    async def authenticate(self, publisher: Publisher, password: bytes | None) -> Decision:
        return self._answer(publisher, password)

    def authorize(self, publisher: Publisher, action: Action, topic: str) -> Decision:
        return self._answer(action, topic)


@pytest.mark.parametrize(
    ("decisions", "allow_anonymous", "publisher", "expected"),
    [
        ([], False, ALICE, False),
        ([], False, NOBODY, False),
        ([], True, NOBODY, True),
        ([], True, ALICE, False),  # a username nobody proved would be believed by the access list
        ([], True, Publisher("c", username=""), False),
        ([ABSTAIN, ABSTAIN], False, ALICE, False),
        ([ABSTAIN, ABSTAIN], True, ALICE, False),
        ([ABSTAIN], True, NOBODY, True),
        ([DENY], True, NOBODY, False),
        ([ALLOW, DENY], False, ALICE, True),
        ([ABSTAIN, ALLOW], False, ALICE, True),
        ([DENY, ALLOW], False, ALICE, False),
        ([ALLOW], False, NOBODY, True),
        ([OSError("gone"), ALLOW], True, NOBODY, False),
    ],
)
async def test_who_gets_in(decisions: list[Any], allow_anonymous: bool, publisher: Publisher, expected: bool) -> None:
    access = AccessControl([Scripted(decision) for decision in decisions], Acl(), allow_anonymous)
    assert await access.authenticate(publisher, b"secret") is expected


async def test_providers_are_asked_in_order_until_one_decides() -> None:
    journal: list[Any] = []
    access = AccessControl([Scripted(ABSTAIN, journal), Scripted(ALLOW, journal), Scripted(DENY, journal)], Acl())
    assert await access.authenticate(ALICE, b"x")
    assert journal == [(ALICE, b"x")] * 2


EVERYTHING = Acl([AclRule(allow=["publish", "subscribe"], topics=["#"])])


@pytest.mark.parametrize(
    ("decisions", "rules", "expected"),
    [
        ([], Acl(), False),
        ([], EVERYTHING, True),
        ([ABSTAIN], EVERYTHING, True),
        ([ABSTAIN], Acl(), False),
        ([DENY], EVERYTHING, False),
        ([ALLOW], Acl(), True),
        ([ABSTAIN, DENY, ALLOW], EVERYTHING, False),
        ([RuntimeError("bug")], EVERYTHING, False),
    ],
)
def test_who_may_do_what(decisions: list[Any], rules: Acl, expected: bool) -> None:
    access = AccessControl([Scripted(decision) for decision in decisions], rules)
    assert access.authorize(ALICE, "publish", "a/b") is expected


def test_providers_see_the_filter_inside_a_shared_subscription() -> None:
    provider = Scripted(ABSTAIN)
    access = AccessControl([provider], EVERYTHING)
    assert access.authorize(ALICE, "subscribe", "$share/g/a/+")
    assert not access.authorize(ALICE, "subscribe", "$share/g")
    assert not access.authorize(ALICE, "publish", "$share/g/a")
    assert provider.journal == [("subscribe", "a/+"), ("publish", "$share/g/a")]


def test_a_provider_abstains_about_topics_unless_it_says_otherwise() -> None:
    class OnlyWho(AuthProvider):
        async def authenticate(self, publisher: Publisher, password: bytes | None) -> Decision:
            return ALLOW

    assert OnlyWho(OnlyWho.Config(), Path()).authorize(ALICE, "publish", "a") is ABSTAIN


async def test_a_failing_provider_is_reported_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert not await AccessControl([Scripted(OSError("no route"))]).authenticate(ALICE, b"")
    [record] = caplog.records
    assert record.getMessage() == "auth provider Scripted failed, the client was refused: OSError: no route"
    assert record.exc_info is None


async def test_refusals_are_counted() -> None:
    metrics = Metrics()
    access = AccessControl([Scripted(ABSTAIN)], Acl(), True, metrics)
    await access.authenticate(ALICE, None)
    await access.authenticate(NOBODY, None)
    access.authorize(ALICE, "subscribe", "a")
    counts = {(family.name, *sample.labels): sample.value for family in metrics.collect() for sample in family.samples}
    assert counts == {
        ("headrace_auth_connects_total", "allowed"): 1,
        ("headrace_auth_connects_total", "denied"): 1,
        ("headrace_auth_denied_total", "publish"): 0,
        ("headrace_auth_denied_total", "subscribe"): 1,
    }


async def test_providers_open_in_order_and_close_in_reverse() -> None:
    journal: list[Any] = []
    access = AccessControl([Scripted(ALLOW, journal), Scripted(DENY, journal)])
    await access.open()
    await access.close()
    assert journal == [("open", ALLOW), ("open", DENY), ("close", DENY), ("close", ALLOW)]


async def test_an_open_that_fails_closes_what_was_opened() -> None:
    journal: list[Any] = []
    broken = Scripted(DENY, journal)
    broken.open_error = ConfigError("bad file")
    with pytest.raises(ConfigError, match="bad file"):
        await AccessControl([Scripted(ALLOW, journal), broken, Scripted(ABSTAIN, journal)]).open()
    assert journal == [("open", ALLOW), ("open", DENY), ("close", DENY), ("close", ALLOW)]
