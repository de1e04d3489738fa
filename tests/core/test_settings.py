"""The values settings are made of: what is accepted, what is said about the rest, and that secrets stay secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SECOND
from core.settings import Bind, Duration, Secret, Size, decode_hook, mask_urls


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1ns", 1),
        ("20us", 20_000),
        ("200ms", 200_000_000),
        ("5s", 5 * SECOND),
        ("5 s", 5 * SECOND),
        ("1.5h", 5_400 * SECOND),
        ("0.3s", 300_000_000),
        ("2m", 120 * SECOND),
        ("7d", 604_800 * SECOND),
        ("0s", 0),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    duration = Duration.parse(text)
    assert duration == nanoseconds
    assert isinstance(duration, Duration)
    assert duration.seconds == nanoseconds / SECOND


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("64KiB", 65_536), ("1 GiB", 1 << 30), ("10MB", 10_000_000), ("1.5kB", 1_500), ("1TiB", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert Size.parse(text) == size


BAD_QUANTITIES: list[Any] = [
    "",
    "5",
    "s",
    "-5s",
    "5 fortnights",
    "1e3s",
    "٣s",
    5,
    5.0,
    None,
    True,
    "5s\n",
    "9" * 400 + ".5s",
]


@pytest.mark.parametrize("bad", BAD_QUANTITIES)
def test_bad_quantities_say_what_a_good_one_looks_like(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a text like '200ms' \(units: ns, us, ms, s, m, h, d\)"):
        Duration.parse(bad)
    with pytest.raises(ValueError, match="expected a text like '1GiB'"):
        Size.parse(bad)


@given(st.integers(0, 10**15 - 1))
def test_quantities_are_written_as_they_are_read(number: int) -> None:
    assert Duration.parse(str(Duration(number))) == number
    assert Size.parse(str(Size(number))) == number


def test_quantities_are_written_shortly() -> None:
    assert [str(Duration(number)) for number in (0, 1, 90 * SECOND, 3_600 * SECOND)] == ["0ns", "1ns", "90s", "1h"]
    sizes = [str(Size(number)) for number in (0, 999, 1_000, 5_000_000, 1 << 20)]
    assert sizes == ["0B", "999B", "1kB", "5MB", "1MiB"]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.1:1883", "10.0.0.1", 1883), ("localhost:0", "localhost", 0), ("[::1]:65535", "::1", 65_535)],
)  # fmt: skip
def test_binds(text: str, host: str, port: int) -> None:
    bind = Bind.parse(text)
    assert (bind.host, bind.port) == (host, port)
    assert str(bind) == text


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "1883",
        ":1883",
        "host:",
        "host:x",
        "host:-1",
        "host:65536",
        "host:٣",
        "[]:1",
        "[::1",
        "[::1:5",
        "::1:5",
        "[h]:5",
        1883,
        None,
    ],
)
def test_bad_binds(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected 'host:port'"):
        Bind.parse(bad)


def test_secrets_are_read_when_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "from-env")
    path = tmp_path / "token"
    file = Secret.parse({"file": str(path)})
    path.write_text("from-file\n\n")
    assert Secret.parse({"env": "A_TOKEN"}).reveal() == "from-env"
    assert file.reveal() == "from-file\n"
    assert Secret.parse("plain").reveal() == "plain"


def test_an_absent_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the environment variable NO_SUCH_TOKEN is not set"):
        Secret.parse({"env": "NO_SUCH_TOKEN"}).reveal()
    with pytest.raises(ValueError, match=r"absent cannot be read: No such file"):
        Secret.parse({"file": str(tmp_path / "absent")}).reveal()
    (tmp_path / "binary").write_bytes(b"\xffhush")
    with pytest.raises(ValueError, match="binary is not UTF-8") as caught:
        Secret.parse({"file": str(tmp_path / "binary")}).reveal()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("source", ["hush", {"env": "HOME"}, {"file": "/etc/token"}])
def test_secrets_are_never_printed(source: Any) -> None:
    secret = Secret.parse(source)
    for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}"):
        assert "hush" not in text
        assert text.strip("[]").startswith("Secret(")


@pytest.mark.parametrize("bad", [5, None, [], {}, {"env": 5}, {"path": "x"}, {"env": "A", "file": "b"}])
def test_bad_secrets(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"expected \{ env"):
        Secret.parse(bad)


class Section(msgspec.Struct, forbid_unknown_fields=True):
    """A section of settings as the packages write them."""

    wait: Duration = Duration(SECOND)
    room: Size = Size(1)
    bind: Bind | None = None
    token: Secret | None = None


def test_sections_are_decoded_with_the_hook() -> None:
    section = msgspec.convert(
        {"wait": "5s", "room": "1KiB", "bind": "h:1", "token": "t"}, Section, dec_hook=decode_hook
    )
    assert (section.wait, section.room, str(section.bind)) == (5 * SECOND, 1_024, "h:1")
    assert section.token is not None
    assert section.token.reveal() == "t"
    with pytest.raises(msgspec.ValidationError, match=r"expected a text like '200ms'.*\$\.wait"):
        msgspec.convert({"wait": 5}, Section, dec_hook=decode_hook)
    with pytest.raises(TypeError, match="no setting is of type complex"):
        decode_hook(complex, 1)


def test_where_a_secret_comes_from_may_be_shown() -> None:
    assert Secret.parse("x").shown == "***"
    assert Secret.parse({"env": "NAME"}).shown == {"env": "NAME"}
    assert Secret.parse({"file": "path"}).shown == {"file": "path"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:hunter2@db:5432/x", "postgresql://me:***@db:5432/x"),
        (
            "cannot reach http://me:hun:t@er2@db/, nor mqtt://:hunter2@x",
            "cannot reach http://me:***@db/, nor mqtt://:***@x",
        ),
        ("https://x/?access_token=hunter2&a=1#b", "https://x/?access_token=***&a=1#b"),
        ("https://x/?a=1&apikey=hunter2", "https://x/?a=1&apikey=***"),
        ("hook?a=1&sig=hunter2", "hook?a=1&sig=***"),
        ("https://host:80/a@b:c@d", "https://host:80/a@b:c@d"),
        ("sqlite:///data/x.db", "sqlite:///data/x.db"),
        ("user:password@host is no URL", "user:password@host is no URL"),
    ],
)
def test_passwords_and_tokens_in_urls_are_masked(text: str, masked: str) -> None:
    assert mask_urls(text) == masked
