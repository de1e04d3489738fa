"""No secret of a configuration that is full of them is ever shown: not in logs, errors, metrics, /readyz or /config.

Every setting of type Secret of every installed connection, sink, source and auth provider has to be in a sample below.
Nobody answers at the samples' addresses, so that every connection and sink has an error to show.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from core.settings import Secret
from headrace.config import Config, parse, provider_types
from headrace.endpoints import connection_types, sink_types, source_types
from tests.headrace.live import Client, Folder, Headrace

SECRET = "hunter2-4711"


class Sample(NamedTuple):
    """A connection of ``type`` and a sink over it, as TOML; ``needs`` a driver."""

    type: str
    connection: str
    sink: str
    needs: str = "msgspec"


SAMPLES = {
    "postgres": Sample(
        "sql", f'url = "postgresql://me:{SECRET}@127.0.0.1:1/x?connect_timeout=5"', 'table = "t"', "psycopg"
    ),
    "mariadb": Sample("sql", 'url = { env = "MARIADB_URL" }', 'table = "t"', "pymysql"),
    "apart": Sample(
        "sql",
        f'url = "postgresql://127.0.0.1:1/x?connect_timeout=5"\nuser = "me"\npassword = "{SECRET}"',
        'table = "t"',
        "psycopg",
    ),
    "plain": Sample(
        "kafka",
        f"""\
bootstrap_servers = ["127.0.0.1:1"]
driver = "kafka-python"
request_timeout = "1s"
sasl = {{ mechanism = "PLAIN", username = "me", password = "{SECRET}" }}
tls = {{ cert = "client.pem", key = "client.key", key_password = {{ file = "password" }} }}""",
        'topic = "t"',
        "kafka",
    ),
    "scram": Sample(
        "kafka",
        f"""\
bootstrap_servers = ["127.0.0.1:1"]
driver = "confluent"
request_timeout = "1s"
sasl = {{ mechanism = "SCRAM-SHA-256", username = "me", password = "{SECRET}" }}
tls = {{ cert = "client.pem", key = "client.key", key_password = {{ file = "password" }} }}""",
        'topic = "t"',
        "confluent_kafka",
    ),
    "scram512": Sample(
        "kafka",
        f"""\
bootstrap_servers = ["127.0.0.1:1"]
request_timeout = "1s"
sasl = {{ mechanism = "SCRAM-SHA-512", username = "me", password = "{SECRET}" }}""",
        'topic = "t"',
        "kafka",
    ),
    "mqtt": Sample("mqtt", f'host = "127.0.0.1"\nport = 1\nuser = "me"\npassword = "{SECRET}"', 'topic = "t"', "paho"),
    "oauth": Sample(
        "kafka",
        f"""\
bootstrap_servers = ["127.0.0.1:1"]
request_timeout = "1s"

[connections.oauth.sasl]
mechanism = "OAUTHBEARER"
token_url = "http://127.0.0.1:1/token"
client_id = "me"
client_secret = "{SECRET}" """,
        'topic = "t"',
        "kafka",
    ),
    "hook": Sample(
        "http",
        f"""\
base_url = "https://127.0.0.1:1/services"
secret_path = "{SECRET}"
auth = {{ type = "bearer", token = "{SECRET}" }}
secret_headers = {{ X-Api-Key = "{SECRET}" }}
secret_query = {{ sig = "{SECRET}" }}
tls = {{ cert = "client.pem", key = "client.key", key_password = {{ file = "password" }} }}""",
        f'url = "a?api_key={SECRET}"\nheaders = {{ X-Token = "{SECRET}" }}',
    ),
    "basic": Sample(
        "http",
        f'base_url = "http://127.0.0.1:1"\nauth = {{ type = "basic", user = "me", password = "{SECRET}" }}',
        "",
    ),
    "oauth2": Sample(
        "http",
        f"""\
base_url = "http://127.0.0.1:1"

[connections.oauth2.auth]
type = "oauth2"
token_url = "http://127.0.0.1:1/token"
client_id = "me"
client_secret = "{SECRET}" """,
        "",
    ),
    "influxdb": Sample(
        "influxdb", f'url = "http://127.0.0.1:1"\nbucket = "b"\ntoken = "{SECRET}"', 'measurement = "m"'
    ),
    "influxdb1": Sample(
        "influxdb",
        f'url = "http://127.0.0.1:1"\napi = "v1"\ndatabase = "d"\nuser = "me"\npassword = "{SECRET}"',
        'measurement = "m"',
    ),
}

HEAD = """\
rules = ["all.sql"]
shutdown_timeout = "50ms"
[listeners.mqtt]
bind = "127.0.0.1:0"
[auth]
allow_anonymous = true
[[acl]]
allow = ["publish"]
topics = ["#"]
[admin]
bind = "127.0.0.1:0"
"""


def text(samples: dict[str, Sample]) -> str:
    parts = [HEAD]
    for name, sample in samples.items():
        parts.append(f'[connections.{name}]\ntype = "{sample.type}"\n{sample.connection}\n')
        parts.append(f'[sinks.over_{name}]\nconnection = "{name}"\n{sample.sink}\n')
    return "\n".join(parts)


def lay_out(folder: Path, samples: dict[str, Sample]) -> None:
    (folder / "headrace.toml").write_text(text(samples))
    rules = [f'INSERT INTO over_{name} SELECT topic FROM "t";' for name in samples]  # noqa: S608 - a rule
    (folder / "all.sql").write_text("\n".join(rules))
    (folder / "password").write_text(f"{SECRET}\n")
    certificate = trustme.CA().issue_cert("client")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encryption = BestAvailableEncryption(SECRET.encode())
    (folder / "client.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    (folder / "client.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))


ENVIRONMENT = {"MARIADB_URL": f"mysql://me:{SECRET}@127.0.0.1:1/x"}


def declared(kind: Any, seen: set[Any]) -> Iterator[tuple[type, str]]:
    """The settings of type Secret in a struct and in all that it contains."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen:
            seen.add(kind)
            for field in msgspec.structs.fields(kind):
                if Secret in (field.type, *get_args(field.type)):
                    yield kind, field.name
                yield from declared(field.type, seen)
    else:
        for argument in get_args(kind):
            yield from declared(argument, seen)


def used(value: Any) -> Iterator[tuple[type, str]]:
    """The settings of type Secret that have a value."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            item = getattr(value, name)
            items = item.values() if isinstance(item, dict) else [item]
            if any(isinstance(one, Secret) for one in items):
                yield type(value), name
            yield from used(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from used(item)


def decoded(folder: Path, samples: dict[str, Sample]) -> Config:
    survey = parse(text(samples), file="x", base_dir=folder)
    assert survey.config is not None, survey.errors
    return survey.config


def test_every_setting_that_is_a_secret_is_in_a_sample(tmp_path: Path) -> None:
    lay_out(tmp_path, SAMPLES)
    registries: list[Any] = [connection_types(), sink_types(), source_types(), provider_types()]
    seen: set[Any] = set()
    wanted = {
        secret
        for registry in registries
        for name in registry.names()
        for secret in declared(registry.load(name).Config, seen)
    }
    config = decoded(tmp_path, SAMPLES)
    structs = [spec.config for spec in (*config.connections.values(), *config.sinks.values())]
    there = {secret for struct in structs for secret in used(struct)}
    assert {f"{struct.__qualname__}.{field}" for struct, field in wanted - there} == set()


def test_no_secret_is_shown(folder: Folder, headrace: Callable[..., Headrace], client: Callable[..., Client]) -> None:
    samples = {name: sample for name, sample in SAMPLES.items() if find_spec(sample.needs)}
    lay_out(folder.path, samples)
    service = headrace("--debug", env=ENVIRONMENT).ready()
    one = client(service.ports["mqtt"])
    one.connect()
    one.publish("t", b"x")
    pages = []
    waiting = {f"{kind}{name}" for name in samples for kind in ("connections.", "sinks.over_")}
    for _ in range(2_000):
        page = components_of(service)
        pages.append(json.dumps(page))
        waiting -= {name for name, component in page.items() if component.get("last_error")}
        if not waiting:
            break
        time.sleep(0.05)
    assert not waiting, "these have no error to show"
    pages += [service.get(path) for path in ("/config", "/metrics", "/")]
    assert json.loads(pages[-3])["connections"]["mariadb"]["url"] == {"env": "MARIADB_URL"}
    service.stop()
    pages.append(service.text)
    pages.append(output(folder, "check", "--connect", "--timeout", "5s"))
    folder.config.write_text(folder.config.read_text().replace("bootstrap_servers", "bootstrap_server"))
    pages.append(output(folder, "--debug", "check"))
    shown = [re.findall(rf".*{SECRET}.*", page) for page in pages]
    assert [lines for lines in shown if lines] == []
    assert "does not answer" in service.text


def components_of(service: Headrace) -> dict[str, dict[str, Any]]:
    url = f"http://127.0.0.1:{service.ports['admin']}/readyz?verbose"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    components: dict[str, dict[str, Any]] = json.loads(body)["components"]
    return components


def output(folder: Folder, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments, "-c", str(folder.config)],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    return done.stdout + done.stderr
