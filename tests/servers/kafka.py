"""Apache Kafka: one KRaft node with a plain, a SASL, a TLS and a SASL over TLS listener.

Users: ``plainuser``/``plain-secret`` (PLAIN), ``scramuser``/``scram-secret`` (SCRAM-SHA-256 and -512); OAUTHBEARER
takes unsecured JSON Web Tokens. Without an entry in the access list everybody may do everything.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from tests.servers.base import Server, absent, cache, find, free_port

_LISTENERS = {  # name -> protocol
    "PLAINTEXT": "PLAINTEXT",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SSL": "SSL",
    "SASL_SSL": "SASL_SSL",
    "OAUTH": "SASL_PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
}
_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.partitions=1
auto.create.topics.enable=false
log.cleaner.enable=false
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.truststore.type=PEM
ssl.client.auth=requested
"""
_SECURITY = "org.apache.kafka.common.security"
_OAUTH = f"{_SECURITY}.oauthbearer"


def _logins() -> list[str]:
    """Who may log in on which listener."""
    oauth = "listener.name.oauth.oauthbearer.sasl"
    validator = f"{_OAUTH}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
    login = f'{_OAUTH}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="unused";'
    lines = [f"{oauth}.jaas.config={login}", f"{oauth}.server.callback.handler.class={validator}"]
    scram = f"{_SECURITY}.scram.ScramLoginModule required;"
    plain = f'{_SECURITY}.plain.PlainLoginModule required user_plainuser="plain-secret";'
    for listener in ("sasl_plaintext", "sasl_ssl"):
        logins = {"plain": plain, "scram-sha-256": scram, "scram-sha-512": scram}
        lines += [f"listener.name.{listener}.{name}.sasl.jaas.config={login}" for name, login in logins.items()]
    return lines


_LOG4J = """\
status = error
rootLogger.level = INFO
rootLogger.appenderRef.c.ref = C
appender.c.type = Console
appender.c.name = C
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = [%d] %p %m (%c)%n
"""


class Kafka(Server):
    """``ca``, ``client_cert`` and ``client_key`` are PEM files for TLS; ``lines`` are added to the settings.

    One that ``joins`` another is the second broker of its cluster, number 2; the first goes on without it.
    """

    name = "Kafka"

    def __init__(self, folder: Path, *lines: str, joins: Kafka | None = None) -> None:
        super().__init__(folder)
        self._lines = lines
        self._ports = {name: free_port() for name in _LISTENERS} | {"PLAINTEXT": self.port}
        self._controller = self._ports["CONTROLLER"]
        if joins is not None:
            self._controller = joins._controller
            del self._ports["CONTROLLER"]
            self._lines = ("process.roles=broker", "node.id=2", *lines)
        self.ca = folder / "ca.pem"
        self.client_cert = folder / "client.pem"
        self.client_key = folder / "client.key"
        self._serving = 0

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_bootstrap(self) -> str:
        return f"127.0.0.1:{self._ports['SASL_PLAINTEXT']}"

    @property
    def tls_bootstrap(self) -> str:
        return f"127.0.0.1:{self._ports['SSL']}"

    @property
    def sasl_tls_bootstrap(self) -> str:
        return f"127.0.0.1:{self._ports['SASL_SSL']}"

    @property
    def oauth_bootstrap(self) -> str:
        return f"127.0.0.1:{self._ports['OAUTH']}"

    def _java(self, *arguments: str) -> list[str]:
        libraries = cache() / "kafka" / "lib"
        if shutil.which("java") is None or not (cache() / "kafka" / "version").exists():
            absent(self.name)
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        small = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [find(self.name, "java"), *small, "-cp", f"{libraries}/*", logging, *arguments]

    def prepare(self) -> None:
        self._java()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        server = authority.issue_cert("localhost", "127.0.0.1")
        (self.folder / "server.pem").write_bytes(_pkcs8(server) + b"".join(p.bytes() for p in server.cert_chain_pems))
        client = authority.issue_cert("client.test")
        self.client_cert.write_bytes(b"".join(part.bytes() for part in client.cert_chain_pems))
        self.client_key.write_bytes(_pkcs8(client))
        (self.folder / "log4j2.properties").write_text(_LOG4J)
        settings = [
            _SETTINGS,
            f"log.dirs={self.folder / 'data'}",
            f"ssl.keystore.location={self.folder / 'server.pem'}",
            f"ssl.truststore.location={self.ca}",
            f"listeners={','.join(f'{name}://127.0.0.1:{port}' for name, port in self._ports.items())}",
            f"listener.security.protocol.map={','.join(':'.join(pair) for pair in _LISTENERS.items())}",
            f"controller.quorum.voters=1@127.0.0.1:{self._controller}",
            *_logins(),
            *self._lines,
        ]
        (self.folder / "server.properties").write_text("\n".join(settings) + "\n")
        users = [
            part
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for part in ("--add-scram", f"{mechanism}=[name=scramuser,password=scram-secret]")
        ]
        tool = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", *users]
        self.run(*self._java(*tool, "-c", str(self.folder / "server.properties")))

    def command(self) -> Sequence[str]:
        self._serving = self._log_text().count("Kafka Server started")
        logs = f"-Dkafka.logs.dir={self.folder / 'logs'}"
        return self._java(logs, "kafka.Kafka", str(self.folder / "server.properties"))

    def ready(self) -> bool:
        return self._log_text().count("Kafka Server started") > self._serving

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tool(self, program: str, *arguments: str) -> str:
        """The output of one of Kafka's own command-line programs, such as ``kafka.admin.AclCommand``."""
        done = subprocess.run(self._java(program, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = done.stdout.decode(errors="replace")
        assert done.returncode == 0, text
        return text


def _pkcs8(certificate: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
