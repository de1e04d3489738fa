"""TLS towards a far side, as every connection writes it: ``tls = true`` or a table.

Owns the settings, the making of an :class:`ssl.SSLContext` and the words for what goes wrong with one; drivers that
take file names (librdkafka) read the paths. Relative paths start at the configuration's folder.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from core.errors import ConfigError
from core.settings import Secret


class TlsSettings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How the far side proves who it is, and how we do (mTLS)."""

    ca: str | None = None
    """PEM file of the authorities to trust instead of the system's."""
    cert: str | None = None
    """PEM file of our own certificate, its chain behind it."""
    key: str | None = None
    """PEM file of its private key; needed where ``cert`` does not hold it."""
    key_password: Secret | None = None
    """Of ``key``, where that is encrypted."""
    verify: bool = True
    """false accepts any certificate: for tests only, anybody in between can read along."""
    check_hostname: bool = True
    """false accepts a trusted certificate that was issued for another name."""

    def paths(self, base_dir: Path) -> tuple[Path | None, Path | None, Path | None]:
        """``ca``, ``cert`` and ``key`` as absolute paths; ConfigError for one that cannot be read."""
        return _path("ca", self.ca, base_dir), _path("cert", self.cert, base_dir), _path("key", self.key, base_dir)


def _path(setting: str, text: str | None, base_dir: Path) -> Path | None:
    if text is None:
        return None
    path = base_dir / text
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{text} cannot be read: {error.strerror}", path=f"tls.{setting}") from None
    return path


def chosen(tls: bool | TlsSettings) -> TlsSettings | None:
    """The settings of ``tls = true | false | { ... }``; None without TLS."""
    if isinstance(tls, TlsSettings):
        return tls
    return TlsSettings() if tls else None


def reason_of(error: ssl.SSLError) -> str:
    """Why a connection was not made, in words of the settings."""
    code = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        setting = "tls.check_hostname" if "mismatch" in error.verify_message else "tls.ca"
        return f"its certificate is not accepted: {error.verify_message.rstrip('.')} (see {setting})"
    if "CERTIFICATE_REQUIRED" in code:
        return "TLS fails: it wants to see a certificate of ours (see tls.cert and tls.key)"
    told = code.replace("_", " ").lower() or "no reason given"
    return f"TLS fails: {told}{' (does the port speak TLS?)' if code == 'WRONG_VERSION_NUMBER' else ''}"


def make_context(settings: TlsSettings, base_dir: Path) -> ssl.SSLContext:
    """The context of a client; ConfigError (path ``tls...``) for files that are missing or no PEM."""
    ca, cert, key = settings.paths(base_dir)
    if key is not None and cert is None:
        raise ConfigError("a private key without its certificate", path="tls.key", hint="name the file in tls.cert")
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ConfigError(f"{settings.ca} holds no certificate: {error.reason}", path="tls.ca") from None
    if cert is not None:
        password = settings.key_password
        try:
            context.load_cert_chain(cert, key, password.reveal if password is not None else None)
        except (ssl.SSLError, ValueError) as error:
            reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else error
            raise ConfigError(f"{settings.cert} and its key cannot be used: {reason}", path="tls.cert") from None
    context.check_hostname = settings.verify and settings.check_hostname
    if not settings.verify:
        context.verify_mode = ssl.CERT_NONE
    return context
