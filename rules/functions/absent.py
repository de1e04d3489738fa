"""Functions of EMQX that headrace does not have (yet): what to say to who looks for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_REGISTRY: Final = (
    "functions of a schema registry are not part of this version; decode such payloads before they reach headrace, "
    "or add the function as a package (docs/howto/write-a-function.md)"
)
_SPARKPLUG: Final = _REGISTRY.replace("functions of a schema registry", "Sparkplug B functions")

ABSENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("schema_encode", "schema_decode", "schema_check", "schema_encode_and_tag", "schema_decode_tagged"),
                *("avro_encode", "avro_decode"),
            ),
            _REGISTRY,
        ),
        **dict.fromkeys(
            ("sparkplug_encode", "sparkplug_decode", "spb_encode", "spb_decode", "spb_zip_kvs"), _SPARKPLUG
        ),
        "ai_completion": "calls of language models are not part of this version: a rule must not wait for them",
    }
)
