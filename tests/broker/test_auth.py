"""Who gets in and who decides: closed by default, providers in order, the access list last."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from broker.acl import Acl, AclRule, Verdict
from broker.auth import AccessControl, Action, Admission, AuthProvider, Decision
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
        ([], False, ALICE, Admission.REFUSED),
        ([], False, NOBODY, Admission.REFUSED),
        ([], True, NOBODY, Admission.ANONYMOUS),
        ([], True, ALICE, Admission.REFUSED),  # a username nobody proved would be believed by the access list
        ([], True, Publisher("c", username=""), Admission.REFUSED),
        ([ABSTAIN, ABSTAIN], False, ALICE, Admission.REFUSED),
        ([ABSTAIN, ABSTAIN], True, ALICE, Admission.REFUSED),
        ([ABSTAIN], True, NOBODY, Admission.ANONYMOUS),
        ([ABSTAIN], False, NOBODY, Admission.REFUSED),
        ([DENY], True, NOBODY, Admission.REFUSED),
        ([ALLOW, DENY], False, ALICE, Admission.PROVED),
        ([ABSTAIN, ALLOW], False, ALICE, Admission.PROVED),
        ([DENY, ALLOW], False, ALICE, Admission.REFUSED),
        ([ALLOW], True, NOBODY, Admission.PROVED),
        ([OSError("gone"), ALLOW], True, NOBODY, Admission.REFUSED),
    ],
)
async def test_who_gets_in(
    decisions: list[Any], allow_anonymous: bool, publisher: Publisher, expected: Admission
) -> None:
    access = AccessControl([Scripted(decision) for decision in decisions], Acl(), allow_anonymous)
    assert await access.authenticate(publisher, b"secret") is expected


async def test_providers_are_asked_in_order_until_one_decides() -> None:
    journal: list[Any] = []
    access = AccessControl([Scripted(ABSTAIN, journal), Scripted(ALLOW, journal), Scripted(DENY, journal)], Acl())
    assert await access.authenticate(ALICE, b"x") is Admission.PROVED
    assert journal == [(ALICE, b"x")] * 2


EVERYTHING = Acl([AclRule(allow=["publish", "subscribe"], topics=["#"])])


@pytest.mark.parametrize(
    ("decisions", "rules", "expected"),
    [
        ([], Acl(), (False, "default")),
        ([], EVERYTHING, (True, "file")),
        ([], Acl([AclRule(deny=["publish"], topics=["a/#"])]), (False, "file")),
        ([ABSTAIN], EVERYTHING, (True, "file")),
        ([ABSTAIN], Acl(), (False, "default")),
        ([DENY], EVERYTHING, (False, "p1")),
        ([ALLOW], Acl(), (True, "p1")),
        ([ABSTAIN, DENY, ALLOW], EVERYTHING, (False, "p2")),
        ([RuntimeError("bug")], EVERYTHING, (False, "p1")),
    ],
)
def test_who_may_do_what(decisions: list[Any], rules: Acl, expected: tuple[bool, str]) -> None:
    names = [f"p{number}" for number, _ in enumerate(decisions, 1)]
    access = AccessControl([Scripted(decision) for decision in decisions], rules, names=names)
    assert access.judge(ALICE, "publish", "a/b") == Verdict(*expected)


def test_providers_see_the_filter_inside_a_shared_subscription() -> None:
    provider = Scripted(ABSTAIN)
    access = AccessControl([provider], EVERYTHING)
    assert access.judge(ALICE, "subscribe", "$share/g/a/+").allowed
    assert not access.judge(ALICE, "subscribe", "$share/g").allowed
    assert not access.judge(ALICE, "publish", "$share/g/a").allowed
    assert provider.journal == [("subscribe", "a/+"), ("publish", "$share/g/a")]


def test_a_provider_abstains_about_topics_unless_it_says_otherwise() -> None:
    class OnlyWho(AuthProvider):
        async def authenticate(self, publisher: Publisher, password: bytes | None) -> Decision:
            return ALLOW

    assert OnlyWho(OnlyWho.Config(), Path()).authorize(ALICE, "publish", "a") is ABSTAIN


async def test_a_failing_provider_is_reported_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        admission = await AccessControl([Scripted(OSError("no route"))]).authenticate(ALICE, b"")
    assert admission is Admission.REFUSED
    [record] = caplog.records
    assert record.getMessage() == "auth provider Scripted failed, the client was refused: OSError: no route"
    assert record.exc_info is None


async def test_refusals_are_counted() -> None:
    metrics = Metrics()
    access = AccessControl([Scripted(ABSTAIN)], Acl(), True, metrics)
    await access.authenticate(ALICE, None)
    await access.authenticate(NOBODY, None)
    access.judge(ALICE, "subscribe", "a")
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
