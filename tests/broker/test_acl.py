"""The access list: first match wins, wildcards are never widened, and no client name opens more than it should."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.acl import Acl, AclRule
from core.message import Publisher
from core.topics import matches

EVERYTHING = ["publish", "subscribe"]


def acl(*rules: dict[str, Any]) -> Acl:
    return Acl(msgspec.convert(list(rules), list[AclRule]))


def client(
    username: str | None = "alice", client_id: str = "c1", host: str = "10.1.2.3", port: int = 40_000
) -> Publisher:
    return Publisher(client_id, username=username, peer_host=host, peer_port=port)


def test_no_rule_allows_nothing() -> None:
    assert not Acl().allows(client(), "publish", "a")
    assert not Acl([]).allows(client(), "subscribe", "#")


def test_the_first_match_decides() -> None:
    rules = acl(
        {"deny": ["publish"], "topics": ["cp/1/locked"]},
        {"allow": EVERYTHING, "topics": ["cp/1/#"]},
        {"deny": EVERYTHING, "topics": ["cp/#"]},
        {"allow": EVERYTHING, "topics": ["#"]},
    )
    assert not rules.allows(client(), "publish", "cp/1/locked")
    assert rules.allows(client(), "subscribe", "cp/1/locked")
    assert rules.allows(client(), "publish", "cp/1/meter")
    assert not rules.allows(client(), "publish", "cp/2/meter")
    assert rules.allows(client(), "publish", "other")


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        ("cp/#", "cp/#", True),
        ("cp/#", "cp", True),
        ("cp/#", "cp/+/meter", True),
        ("cp/+", "cp/#", False),
        ("cp/+/meter", "cp/+/+", False),
        ("cp/+/meter", "cp/7/meter", True),
        ("cp/7/#", "cp/+/meter", False),
        ("cp", "cpx", False),
        ("cp/#", "cpx", False),
        ("#", "$SYS/#", False),
        ("+/#", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/uptime", True),
        ("+/#", "#", True),
        ("cp/#", "$share/workers/cp/+/meter", True),
        ("cp/#", "$share/workers/other", False),
        ("#", "$share/workers/$SYS/#", False),
        ("#", "$share/workers", False),
        ("#", "$share//x", False),
        ("#", "$share/+/x", False),
    ],
)
def test_a_subscription_is_allowed_only_where_one_filter_covers_it(rule: str, wanted: str, allowed: bool) -> None:
    assert acl({"allow": ["subscribe"], "topics": [rule]}).allows(client(), "subscribe", wanted) is allowed


def test_a_shared_name_is_unwrapped_once_and_only_for_subscriptions() -> None:
    rules = acl({"allow": EVERYTHING, "topics": ["x"]})
    assert not rules.allows(client(), "subscribe", "$share/g/$share/g/x")
    assert not rules.allows(client(), "publish", "$share/g/x")


@pytest.mark.parametrize("wanted", ["#", "cp/#", "cp/+/secret", "+/7/secret", "$share/g/cp/#", "cp/7/secret"])
def test_a_subscription_that_overlaps_a_denied_filter_does_not_slip_through(wanted: str) -> None:
    rules = acl({"deny": ["subscribe"], "topics": ["cp/+/secret"]}, {"allow": EVERYTHING, "topics": ["#"]})
    assert not rules.allows(client(), "subscribe", wanted)
    assert rules.allows(client(), "subscribe", "cp/7/meter")


@pytest.mark.parametrize(
    ("who", "matching", "others"),
    [
        ({"username": "*"}, [client(), client("bob")], [client(None), client("")]),
        ({"username": "alice"}, [client()], [client("alicia"), client(None)]),
        ({"username": ["bob", "al*"]}, [client(), client("bob")], [client("carol")]),
        ({"clientid": "st-*-x"}, [client(client_id="st-1-x"), client(client_id="st--x")], [client(client_id="st-x")]),
        ({"peerhost": "10.0.0.0/8"}, [client(), client(host="::ffff:10.9.9.9")], [client(host="11.0.0.1")]),
        ({"peerhost": "fd00::/8"}, [client(host="fd00::1")], [client(host="fe80::1"), client(host="10.0.0.1")]),
        ({"peerhost": ["127.0.0.1", "10.1.*"]}, [client(), client(host="127.0.0.1")], [client(host="10.2.0.1")]),
        ({"username": "alice", "clientid": "c1"}, [client()], [client(client_id="c2"), client("bob")]),
    ],
)  # fmt: skip
def test_who(who: dict[str, Any], matching: list[Publisher], others: list[Publisher]) -> None:
    allow = acl({"allow": ["publish"], "who": who, "topics": ["t"]})
    deny = acl({"deny": ["publish"], "who": who, "topics": ["t"]}, {"allow": ["publish"], "topics": ["t"]})
    for publisher in matching:
        assert allow.allows(publisher, "publish", "t")
        assert not deny.allows(publisher, "publish", "t")
    for publisher in others:
        assert not allow.allows(publisher, "publish", "t")
        assert deny.allows(publisher, "publish", "t")


def test_a_peer_of_unknown_address_is_neither_granted_nor_let_through() -> None:
    unknown = client(host="")
    assert not acl({"allow": ["publish"], "who": {"peerhost": "*"}, "topics": ["t"]}).allows(unknown, "publish", "t")
    rules = acl(
        {"deny": ["publish"], "who": {"peerhost": "10.0.0.0/8"}, "topics": ["t"]},
        {"allow": ["publish"], "topics": ["t"]},
    )
    assert not rules.allows(unknown, "publish", "t")


def test_placeholders_stand_for_the_clients_own_names() -> None:
    rules = acl({"allow": EVERYTHING, "who": {"username": "*"}, "topics": ["cp/${username}/#", "c-${clientid}"]})
    assert rules.allows(client(), "publish", "cp/alice/meter")
    assert rules.allows(client(), "subscribe", "cp/alice/#")
    assert rules.allows(client(), "publish", "c-c1")
    assert not rules.allows(client(), "publish", "cp/bob/meter")
    assert not rules.allows(client(), "subscribe", "cp/+/meter")
    assert not rules.allows(client(), "publish", "cp/${username}/meter")


UNUSABLE = [None, "", "+", "#", "a/b", "a+", "a/#", "x\x00", "x\n"]


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_name_opens_nothing_and_slips_past_no_denial(name: str | None) -> None:
    allow = acl({"allow": EVERYTHING, "topics": ["cp/${username}/#", "public/#"]})
    publisher = client(name)
    for topic in ("cp/bob/meter", "cp/a/b/x", "cp//x", "cp/+/x", "cp/#"):
        assert not allow.allows(publisher, "subscribe", topic)
    assert allow.allows(publisher, "publish", "public/x")  # the rule's other filters are not concerned
    deny = acl(
        {"deny": EVERYTHING, "topics": ["cp/x-${username}/config"]}, {"allow": EVERYTHING, "topics": ["#", "$SYS/#"]}
    )
    for topic in ("cp/x-a/b/config", "cp/x-/config", "cp/x-", "cp/#", "+/x/config"):
        assert not deny.allows(publisher, "subscribe", topic)
    assert deny.allows(publisher, "publish", "other")
    first = acl({"deny": EVERYTHING, "topics": ["${username}/#"]}, {"allow": EVERYTHING, "topics": ["#", "$SYS/#"]})
    for topic in ("a", "$SYS/uptime", "#"):
        assert not first.allows(publisher, "subscribe", topic)


@pytest.mark.parametrize("name", ["$SYS", "$share", "$"])
def test_a_name_does_not_reach_the_servers_own_topics(name: str) -> None:
    leading = acl({"allow": EVERYTHING, "topics": ["${username}/#"]})
    assert not leading.allows(client(name), "subscribe", f"{name}/#")
    assert not leading.allows(client(name), "publish", f"{name}/x")
    inside = acl({"allow": EVERYTHING, "topics": ["cp/${username}"]})
    assert inside.allows(client(name), "publish", f"cp/{name}")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"topics": ["a"]}, "exactly one of `allow` and `deny`"),
        ({"allow": ["publish"], "deny": ["publish"], "topics": ["a"]}, "exactly one"),
        ({"allow": [], "topics": ["a"]}, "needs an action"),
        ({"allow": ["publish"], "topics": []}, "`topics` is empty"),
        ({"allow": ["publish"]}, "missing required field `topics`"),
        ({"allow": ["write"], "topics": ["a"]}, "Invalid enum value 'write'"),
        ({"allow": ["publish"], "topics": ["a/#/b"]}, "topic filter 'a/#/b' is not valid"),
        ({"allow": ["publish"], "topics": ["${usrname}/a"]}, "did you mean 'username'"),
        ({"allow": ["publish"], "topics": ["${x}/a"]}, "known are username and clientid"),
        ({"allow": ["publish"], "topics": ["${username/a"]}, "unfinished placeholder"),
        ({"allow": ["publish"], "topics": ["+${username}"]}, "not valid"),
        ({"allow": ["publish"], "topics": ["$share/g/a"]}, "inner filter"),
        ({"allow": ["publish"], "topics": ["a"], "who": {}}, "leave `who` out for everyone"),
        ({"allow": ["publish"], "topics": ["a"], "who": {"username": []}}, "must not be empty"),
        ({"allow": ["publish"], "topics": ["a"], "who": {"user": "x"}}, "unknown field `user`"),
        ({"allow": ["publish"], "topics": ["a"], "who": {"peerhost": "10.0.0.1/8"}}, "host bits set"),
        ({"allow": ["publish"], "topics": ["a"], "who": {"peerhost": "gateway"}}, "neither an address nor a network"),
        ({"allow": ["publish"], "topics": ["a"], "who": {"peerhost": "::ffff:10.0.0.0/104"}}, "IPv4 network itself"),
    ],
)  # fmt: skip
def test_a_bad_rule_says_what_is_wrong(rule: dict[str, Any], text: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        acl({"allow": ["publish"], "topics": ["fine"]}, rule)
    assert text in str(caught.value)
    assert "$[1]" in str(caught.value)


levels = st.sampled_from(["a", "b", "", "$a"])
names = st.lists(levels, min_size=1, max_size=3).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.one_of(levels, st.just("+")), max_size=3), st.booleans())
    .map(lambda parts: "/".join([*parts[0], *(["#"] if parts[1] else [])]))
    .filter(bool)
)
rule_lists = st.lists(
    st.fixed_dictionaries({"topics": st.lists(filters, min_size=1, max_size=2)})
    .flatmap(lambda rule: st.sampled_from([rule | {"allow": EVERYTHING}, rule | {"deny": EVERYTHING}])),
    max_size=4,
)  # fmt: skip


@given(rule_lists, filters, names)
def test_an_allowed_subscription_brings_no_topic_that_is_not_allowed_itself(
    rules: list[dict[str, Any]], topic_filter: str, name: str
) -> None:
    access = acl(*rules)
    if matches(topic_filter, name) and access.allows(client(), "subscribe", topic_filter):
        assert access.allows(client(), "subscribe", name)
        assert access.allows(client(), "publish", name)


@given(st.lists(filters, min_size=1, max_size=3), names)
def test_publishing_follows_matching(topics: list[str], name: str) -> None:
    expected = any(matches(topic, name) for topic in topics)
    assert acl({"allow": ["publish"], "topics": topics}).allows(client(), "publish", name) is expected
    everything = {"allow": ["publish"], "topics": ["#", "$a/#"]}
    assert acl({"deny": ["publish"], "topics": topics}, everything).allows(client(), "publish", name) is not expected


@given(st.text(alphabet="ab/+#$\x00", max_size=5), names)
def test_a_username_reaches_no_further_than_its_own_level(username: str, name: str) -> None:
    access = acl({"allow": EVERYTHING, "topics": ["cp/${username}/#"]})
    allowed = access.allows(client(username), "publish", f"cp/{name}")
    assert allowed == (bool(username) and name.partition("/")[0] == username)


@given(st.text(alphabet="ab*", max_size=6), st.text(alphabet="ab", max_size=8))
def test_globs_agree_with_regular_expressions(pattern: str, text: str) -> None:
    import re

    expected = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None
    if pattern:
        access = acl({"allow": ["publish"], "who": {"clientid": pattern}, "topics": ["t"]})
        assert access.allows(client(client_id=text), "publish", "t") == (expected and text != "")
