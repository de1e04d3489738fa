"""What the examples leave out: boundaries, types at the edge, and the errors with their codes."""

from __future__ import annotations

import gzip
import math
import zlib
from decimal import Decimal
from typing import Any

import pytest

from core.message import MISSING
from rules.functions import FunctionError, FunctionTable, Host, functions_for
from rules.functions.base import MAX_RESULT, Refusal
from rules.functions.bitstring import BitString

FAMILY = "👨\u200d👩\u200d👧"  # three people in one character
FLAGS = "🇩🇪🇫🇷"
ACCENT = "e\u0301"  # e with a combining acute

VALUES: list[tuple[str, tuple[Any, ...], Any]] = [
    # conversion
    ("int", ("-0.5",), -1),
    ("int", ("+7",), 7),
    ("int", (b"12",), 12),
    ("int", (Decimal("2.9"),), 2),
    ("int", ("123456789012345678901234567890",), 123456789012345678901234567890),
    ("float", ("12",), 12.0),
    ("float", ("3.14e-4",), 3.14e-4),
    ("float", ("0.000012345", 5), 1e-05),
    ("float2str", (0.00000000001, 20), "0.00000000001"),
    ("float2str", (0.100001, 5), "0.1"),
    ("float2str", (20.2, 0), "20"),
    ("float2str", (20.2, 16), "20.1999999999999993"),
    ("float2str", (0.125, 2), "0.13"),
    ("float2str", (-0.125, 2), "-0.13"),
    ("float2str", (0.995, 2), "1.0"),
    ("float2str", (1.005, 2), "1.0"),
    ("float2str", (2.5, 0), "3"),
    ("float2str", (-1e-11, 3), "-0.0"),
    ("float2str", (1e20, 2), "100000000000000000000.0"),
    ("float2str", (9007199254740991.5, 1), "9007199254740992.0"),
    ("float", (0.125, 2), 0.13),
    ("str", (0.00048828125,), "0.0004882813"),
    ("str", (1234567.1,), "1234567.1000000001"),
    ("str", (MISSING,), "undefined"),
    ("str", (None,), "null"),
    ("str", (1e22,), "10000000000000000000000.0"),
    ("str", ({"a": {"b": [None, True]}},), '{"a":{"b":[null,true]}}'),
    ("str_utf16_le", ("你",), "`O"),
    ("bool", (1.0,), True),
    ("bool", (b"false",), False),
    ("map", ([],), {}),
    ("bin2hexstr", (b"\xff\x00",), "FF00"),
    ("bin2hexstr", (BitString(0b100001, 6),), "21"),
    ("bin2hexstr", (BitString(0b001, 3),), "1"),
    ("bin2hexstr", (BitString(0b1_0000_0010, 9),), "102"),
    ("sqlserver_bin2hexstr", (BitString(0b10, 2),), "0x2"),
    ("hexstr2bin", ("6364f",), b"\x06\x36\x4f".decode()),
    ("hexstr2bin", ("FF",), b"\xff"),
    ("hexstr2bin", ("",), ""),
    # predicates and conditional
    ("is_str", (b"\xff",), True),
    ("is_num", (Decimal(1),), True),
    ("is_int", (False,), False),
    ("is_empty", ('{"a": 1}',), False),
    ("is_not_null", (None,), True),
    ("coalesce", (None, 1), None),
    ("coalesce_ne", (None, 1), None),
    ("coalesce_ne", ([], 1), 1),
    ("coalesce_ne", (b"", 0), 0),
    ("coalesce", (MISSING, MISSING), MISSING),
    # math
    ("round", (0.49999999999999994,), 0),
    ("round", (-0.5,), -1),
    ("round", (10**30,), 10**30),
    ("ceil", (-1.5,), -1),
    ("power", (2, -1), 0.5),
    ("mod", (7, -3), 1),
    ("div", (-7, -2), 3),
    ("eq", (True, 1), False),
    ("eq", (None, MISSING), False),
    ("eq", ({"a": 1}, {"a": 1.0}), True),
    ("eq", ("a", b"a"), True),
    ("abs", (Decimal("-1.5"),), 1.5),
    # strings
    ("lower", ("ΟΔΟΣ",), "οδοσ"),
    ("upper", ("straße",), "STRASSE"),
    ("tokens", ("a\r\nb\nc", "\n"), ["a\r\nb", "c"]),
    ("tokens", ("a\r\nb\rc", ",", "nocrlf"), ["a", "b", "c"]),
    ("tokens", ("a\r\nb,c", "\r\n,"), ["a", "b", "c"]),
    ("strlen", ("你好",), 2),
    ("strlen", (ACCENT,), 1),
    ("strlen", (FAMILY,), 1),
    ("strlen", (FLAGS,), 2),
    ("strlen", ("\r\n",), 1),
    ("strlen", ("각",), 1),
    ("strlen", (b"abc",), 3),
    ("reverse", (f"a{ACCENT}{FLAGS}",), "🇫🇷🇩🇪e\u0301a"),
    ("substr", (f"{FAMILY}b", 1), "b"),
    ("substr", ("abc", 1, 0), ""),
    ("substr", ("abc", 1, 9), "bc"),
    ("trim", ("\u2028 a\u00a0",), "a\u00a0"),
    ("ascii", ("你",), 228),
    ("concat", (MISSING, None), "undefinednull"),
    ("concat", ([],), ""),
    ("concat", (1, 2.50, {"a": 1}), '12.5{"a":1}'),
    ("join_to_string", (",", [[{"a": 1}], True, MISSING]), '[{"a":1}],true,undefined'),
    ("join_to_sql_values_string", (["it's", "a\\b", MISSING, True, 1.5],), "'it\\'s', 'a\\\\b', NULL, 'true', 1.5"),
    ("pad", ("abc", 0), "abc"),
    ("pad", ("abc", -5), "abc"),
    ("pad", ("你", 3, "leading", "-"), "--你"),
    ("pad", ("abc", 5, "both", "ex"), "exabcex"),
    ("find", ("", ""), ""),
    ("find", ("acbcd", "", "trailing"), "acbcd"),
    ("find", ("Front, Middle, End", ", ", "leading"), ", Middle, End"),
    ("replace", ("abc", "", "-"), "abc"),
    ("replace", ("abc", "x", "-", "trailing"), "abc"),
    ("split", ("", "/", "notrim"), [""]),
    ("split", ("/", "/"), []),
    ("split", ("abc", ""), ["abc"]),
    ("split", ("/a/b/c", "/", "leading"), ["a/b/c"]),
    ("split", ("/a/b/c", "/", "leading_notrim"), ["", "a/b/c"]),
    ("split", ("a, b ,c", ","), ["a", " b ", "c"]),
    ("tokens", ("a ,\nb,c\n", ", "), ["a", "\nb", "c\n"]),
    ("tokens", ("\r\n", ",", "nocrlf"), []),
    ("tokens", ("a]b^c-d", "]^-"), ["a", "b", "c", "d"]),
    ("tokens", ("abc", ""), ["abc"]),
    ("unescape", ("\\x00004E16\\x0000754C",), "世界"),
    ("unescape", ("\\x0Ahej",), "\nhej"),
    ("unescape", ("a\\",), "a\\"),
    ("unescape", ("\\a\\b\\f\\v\\'\\\"\\?\\\\",), "\a\b\f\v'\"?\\"),
    # regular expressions
    ("regex_match", ("", ".*"), True),
    ("regex_match", ("a\n", "^a$"), True),
    ("regex_match", ("a\n", "^a\\z"), False),
    ("regex_match", ("a\n", "^a\\Z"), True),
    ("regex_match", ("é", "^\\w$"), False),
    ("regex_match", ("x]", "^[]x]+$"), True),
    ("regex_match", ("a[", "^[a[]+$"), True),
    ("regex_match", ("aB3_", "^[[:alpha:][:digit:]_]+$"), True),
    ("regex_match", ("a&&b", "^[a&&b~~]+$"), True),
    ("regex_match", ("a.b", "\\Qa.b\\E"), True),
    ("regex_match", ("axb", "^\\Qa.b\\E$"), False),
    ("regex_extract", ("k=v", "(?<key>\\w)=(?<value>\\w)"), ["k", "v"]),
    ("regex_extract", ("ac", "(a)(b)?(c)"), ["a", "", "c"]),
    ("regex_extract", ("a", "(a)|(b)"), ["a"]),
    ("regex_extract", ("b", "(a)|(b)()"), ["", "b", ""]),
    ("regex_extract", ("c", "(a)?(b)?c"), []),
    ("regex_match", ("axB", "a(?i)xb|q"), True),
    ("regex_match", ("Ax", "a(?i)X"), False),
    ("regex_match", ("cQ", "c(?:a(?i)b|q)"), True),
    ("regex_match", ("ab", "(?i)A(?-i)B"), False),
    ("regex_match", ("a\x0b", "a\\s$"), True),
    ("regex_match", ("x5", "^[[:^digit:]][[:digit:]]$"), True),
    ("regex_match", ("ab", "a\\K(?<=a)b"), True),
    ("regex_match", ("((()))", "^(\\((?1)*\\))$"), True),
    ("regex_match", ("abab", "^(ab)\\g{1}$"), True),
    ("regex_match", ("abab", "^(?<x>ab)\\k{x}$"), True),
    ("regex_match", ("aaa", "^a{,3}$"), False),
    ("regex_match", ("a{,3}", "^a{,3}$"), True),
    ("regex_match", ("\u263a\x01\x07", "^\\x{263A}\\cA\\007$"), True),
    ("regex_match", ("k", "(?i)\u212a"), False),
    ("regex_match", ("Straße", "\\w\\W\\we*$"), True),
    ("regex_replace", ("baac", "a*", "-"), "-b--c-"),
    ("regex_replace", ("ab\n", "b$", "x"), "ax\n"),
    ("regex_extract", ("ac", "ac"), []),
    ("regex_replace", ("", "c.*", "e"), ""),
    ("regex_replace", ("ab", "(a)", "\\0\\9\\&\\\\\\n"), "a&\\\\nb"),
    ("regex_replace", ("ab", "(a)", "\\g{1}1"), "a1b"),
    # sprintf
    ("sprintf", ("~p ~w", "ABC", "ab"), '<<"ABC">> <<97,98>>'),
    ("sprintf", ("~p", {"b": [1, None], "a": 1.0e22}), '#{<<"a">> => 1.0e22,<<"b">> => [1,null]}'),
    ("sprintf", ("~tp", "é\n"), '<<"é\\n"/utf8>>'),
    ("sprintf", ("~p", b"\xff"), "<<255>>"),
    ("sprintf", ("~.16B ~.2b ~.16x", 255, -5, 255, "0x"), "FF -101 0xff"),
    ("sprintf", ("~8.2f|~-8.2f|~.3e|~g", 3.14159, 2, 12345.678, 0.5), "    3.14|2.00    |1.23e+4|0.500000"),
    ("sprintf", ("~2f|~3s|~.2s", 1234.5, "abcdef", "abcdef"), "**|abc|ab"),
    ("sprintf", ("~c~3c~n~~~i!", 65, 66, "skipped"), "A" + "  B" + "\n~!"),
    ("sprintf", ("~*..0b", 5, 42), "00042"),
    ("sprintf", ("~s", True), "true"),
    ("sprintf", ("~.1f ~.2e ~.1f", 0.25, 1.25, -2.5e22), "0.3 1.3e+0 -24999999999999997902848.0"),
    # arrays
    ("sublist", (0, [1]), []),
    ("sublist", (3, 1, [1, 2]), []),
    ("sublist", (1, 9, [1, 2]), [1, 2]),
    ("contains", ({"a": 1}, [{"a": 1.0}, {"a": 1}]), True),
    ("contains", (True, [1]), False),
    ("contains", (None, [None]), True),
    # maps and JSON
    ("map_get", ("a.b", '{"a": "{\\"b\\": 5}"}'), 5),
    ("map_get", ("a", None), MISSING),
    ("map_get", ("a", {"a": None}, 1), None),
    ("map_get", ("1", [7], "none"), "none"),
    ("map_put", ("a.b", 1, "text"), {"a": {"b": 1}}),
    ("map_put", ("a.c", 2, {"a": {"b": 1}}), {"a": {"b": 1, "c": 2}}),
    ("map_put", ("a.c", 2, {"a": [1]}), {"a": {"c": 2}}),
    ("mget", ("a", []), MISSING),
    ("mget", (["a", "x"], {"a": {}}, 0), 0),
    ("mput", ("a", 2, '{"a": 1}'), {"a": 2}),
    ("map_size", ([],), 0),
    ("map_keys", ({"b": 1, "": 2, "é": 3},), ["", "b", "é"]),
    ("map_to_redis_hset_args", ({"b": True, "a": 0.1234567, "n": None, "m": {}},),
     ["map_to_redis_hset_args", "a", "0.123457", "b", "true"]),
    ("map_to_redis_hset_args", ([1],), ["map_to_redis_hset_args"]),
    ("json_encode", (MISSING,), '"undefined"'),
    ("json_encode", ({"a": 2.0},), '{"a":2.0}'),
    ("json_decode", ("18446744073709551616",), 18446744073709551616),
    ("json_decode", (b"null",), None),
    # dates
    ("timezone_to_offset_seconds", ("+00:01:42",), 102),
    ("timezone_to_offset_seconds", (MISSING,), 0),
    ("timezone_to_second", ("z",), 0),
    ("rfc3339_to_unix_ts", ("1969-12-31T23:59:59Z",), -1),
    ("rfc3339_to_unix_ts", ("2016-12-31_23:59:60Z",), 1483228800),
    ("rfc3339_to_unix_ts", ("2024-02-23T15:56:30.9999Z",), 1708703790),
    ("rfc3339_to_unix_ts", ("2024-02-23t15:56:30.0006z", "millisecond"), 1708703790001),
    ("rfc3339_to_unix_ts", ("2024-02-23 15:56:30.123456789-00:30", "nanosecond"), 1708705590123456789),
    ("format_date", ("second", "-01:30", "%z %:z %::z %%Y", 0), "-0130 -01:30 -01:30:00 %1969"),
    ("format_date", ("nanosecond", 0, "%S.%N %3N", 1_000_000_001), "01.000000001 000"),
    ("format_date", ("millisecond", MISSING, "%Y-%m-%d %H:%M:%S.%3N", -1), "1969-12-31 23:59:59.999"),
    ("format_date", ("second", "Z", "%Y", -62_135_596_800), "0001"),
    ("date_to_unix_ts", ("second", "%Y-%m-%d %H:%M:%S", "2100-03-01 12:44:31"), 4107588271),
    ("date_to_unix_ts", ("second", "%Y-%m-%d %H:%M:%S.%3N%:z", "2024-02-23 15:00:00.123+08:00"), 1708671600),
    ("date_to_unix_ts", ("microsecond", "+08:00", "%Y-%m-%d %H-%M-%S.%6N", "2024-03-01 10:30:38.333444"),
     1709260238333444),
    ("date_to_unix_ts", ("second", "+08:00", "%Y-%m-%d %H:%M:%S%:z", "2024-02-23 15:00:00"), 1708671600),
    ("date_to_unix_ts", ("second", "+08:00", "%Y-%m-%d %H:%M:%S%z", "2024-02-23 15:00:00+0000"), 1708700400),
    ("mongo_date", (0,), "ISODate(1970-01-01T00:00:00.000Z)"),
    # encoding and bits
    ("md5", (b"\xff",), "00594fd4f42ba43fc1ca0427a0576295"),
    ("base64_encode", (b"\xfb\xef", "urlsafe", "no_padding"), "--8"),
    ("base64_encode", ("hello", "whatever"), "aGVsbG8="),
    ("base64_decode", ("aGVs\nbG8=",), "hello"),
    ("base64_decode", ("--8", "no_padding", "urlsafe"), b"\xfb\xef"),
    ("gunzip", (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",), ""),
    ("gunzip", (gzip.compress(b"a") + gzip.compress(b"b"),), "ab"),
    ("bitsl", (0, 10**30), 0),
    ("bitsl", (-1, -(10**30)), -1),
    ("bitsr", (-8, -2), -32),
    ("bitsize", (BitString(1, 3),), 3),
    ("bitsize", ("é",), 16),
    ("subbits", (b"\xff", 9, 1), MISSING),
    ("subbits", (b"", 1), MISSING),
    ("subbits", (b"\xff", 0, 1), MISSING),
    ("subbits", (b"\xff\x01", 9, -1), 1),
    ("subbits", (b"\xff", 0), 0),
    ("subbits", (b"\x9f\x4e\x58", 9, 4), 4),
    ("subbits", (b"\xfe\x38", 1, 16, "integer", "signed"), -456),
    ("subbits", (b"\x12\x34", 1, 12, "integer", "unsigned", "little"), 0x312),
    ("subbits", (b"\x40\x15\x33\x33\x33\x33\x33\x33"[::-1], 1, 64, "float", "signed", "little"), 5.3),
    ("subbits", (b"\x3c\x00", 1, 16, "float"), 1.0),
    ("subbits", (b"\xff\xff", 1, 8, "bits"), b"\xff"),
    ("subbits", (BitString(0b101, 3), 2, 2), 1),
    # Erlang terms
    ("term_encode", ([1, 2],), b"\x83k\x00\x02\x01\x02"),
    ("term_encode", ([True, 300],), b"\x83l\x00\x00\x00\x02w\x04trueb\x00\x00\x01\x2cj"),
    ("term_encode", ({"a": -(2**31) - 1},), b"\x83t\x00\x00\x00\x01m\x00\x00\x00\x01an\x04\x01\x01\x00\x00\x80"),
    ("term_decode", (b"\x83h\x02a\x01d\x00\x02ok",), [1, "ok"]),
    ("term_decode", (b"\x83P\x00\x00\x00\x02" + zlib.compress(b"a\x05"),), 5),
    ("term_decode", (b"\x83w\x09undefined",), MISSING),
    # topics
    ("contains_topic", ([{"topic": "a/#"}], "a/b"), False),
    ("contains_topic_match", ([{"topic": "x"}, {"topic": "a/#", "qos": 1}], "a/b", 1), True),
    ("contains_topic_match", ([{"topic": "a/#", "qos": 0}, {"topic": "a/b", "qos": 1}], "a/b", 1), False),
    ("contains_topic", ([1, {"topic": 2}], "a"), False),
]  # fmt: skip

ARGUMENT = "bad_sql_function_argument"
ERRORS: list[tuple[str, tuple[Any, ...], str]] = [
    ("upper", (MISSING,), ARGUMENT),
    ("upper", (None,), ARGUMENT),
    ("upper", (1,), ARGUMENT),
    ("upper", (b"\xff",), ARGUMENT),
    ("strlen", (True,), ARGUMENT),
    ("int", ("a",), ARGUMENT),
    ("int", (" 1",), ARGUMENT),
    ("int", ("1e3",), ARGUMENT),
    ("int", ("1_000",), ARGUMENT),
    ("int", ("\u0661",), ARGUMENT),
    ("int", (math.inf,), ARGUMENT),
    ("int", (MISSING,), ARGUMENT),
    ("float", (True,), ARGUMENT),
    ("float", ("1.0e400",), ARGUMENT),
    ("float", (1.5, 0), ARGUMENT),
    ("float", (1.5, 254), ARGUMENT),
    ("float2str", (1, 2), ARGUMENT),
    ("bool", ("True",), ARGUMENT),
    ("bool", (3,), ARGUMENT),
    ("map", ("a",), "decode_json_failed"),
    ("map", ("[1]",), ARGUMENT),
    ("map", ([1],), ARGUMENT),
    ("str", (b"\xff",), ARGUMENT),
    ("hexstr2bin", ("0x6364f", "ab"), "binary_prefix_unmatch"),
    ("hexstr2bin", ("zz",), ARGUMENT),
    ("is_empty", ("not json",), "decode_json_failed"),
    ("is_empty", (MISSING,), ARGUMENT),
    ("log", (0,), ARGUMENT),
    ("sqrt", (-1,), ARGUMENT),
    ("acos", (2,), ARGUMENT),
    ("exp", (1000,), ARGUMENT),
    ("power", (0, -1), ARGUMENT),
    ("fmod", (1, 0), ARGUMENT),
    ("mod", (1, 0), ARGUMENT),
    ("div", (1.0, 1), ARGUMENT),
    ("abs", (True,), ARGUMENT),
    ("sin", (10**400,), ARGUMENT),
    ("round", (math.nan,), ARGUMENT),
    ("ascii", ("",), ARGUMENT),
    ("substr", ("abc", -1), ARGUMENT),
    ("substr", ("abc", 0, -1), ARGUMENT),
    ("pad", ("a", 10**9), "result_too_large"),
    ("pad", ("a", 5, "middle"), ARGUMENT),
    ("replace", ("a" * 10_000, "a", "b" * 10_000), "result_too_large"),
    ("regex_replace", ("a" * 10_000, "a", "b" * 10_000), "result_too_large"),
    ("concat", (["a" * MAX_RESULT, "b"],), "result_too_large"),
    ("split", ("a", "b", "c"), ARGUMENT),
    ("tokens", ("a", "b", "crlf"), ARGUMENT),
    ("unescape", ("\\L",), "unrecognized_escape_sequence"),
    ("unescape", ("\\xG1",), "unrecognized_escape_sequence"),
    ("unescape", ("\\x11000000",), "invalid_unicode_character"),
    ("unescape", ("\\xD800",), "invalid_unicode_character"),
    ("regex_match", ("a", "("), "bad_regex"),
    ("regex_match", ("a", "a" * 5_000), "bad_regex"),
    ("sprintf", ("~s",), ARGUMENT),
    ("sprintf", ("~s", 1, 2), ARGUMENT),
    ("sprintf", ("~b", 1.0), ARGUMENT),
    ("sprintf", ("~f", math.inf), ARGUMENT),
    ("sprintf", ("~y", 1), ARGUMENT),
    ("sprintf", ("~",), ARGUMENT),
    ("sprintf", ("~999999999s", "a"), "result_too_large"),
    ("sprintf", ("~999999999n",), "result_too_large"),
    ("nth", (0, [1]), ARGUMENT),
    ("nth", (2, [1]), ARGUMENT),
    ("nth", (1, "abc"), ARGUMENT),
    ("first", ([],), ARGUMENT),
    ("last", ([],), ARGUMENT),
    ("sublist", (4, 1, [1, 2]), ARGUMENT),
    ("sublist", (0, 1, [1]), ARGUMENT),
    ("sublist", (-1, [1]), ARGUMENT),
    ("length", (1,), ARGUMENT),
    ("mget", (1, {}), ARGUMENT),
    ("mput", ([], 1, {}), ARGUMENT),
    ("map_put", ("." * 1_000, 1, {}), ARGUMENT),
    ("map_keys", (MISSING,), ARGUMENT),
    ("json_decode", ("{",), "decode_json_failed"),
    ("json_decode", (b"\xff",), "decode_json_failed"),
    ("json_decode", ("[" * 100_000,), ARGUMENT),
    ("now_timestamp", ("minute",), "invalid_time_unit"),
    ("unix_ts_to_rfc3339", (10**12,), ARGUMENT),
    ("unix_ts_to_rfc3339", (10**400,), ARGUMENT),
    ("unix_ts_to_rfc3339", (1.5,), ARGUMENT),
    ("rfc3339_to_unix_ts", ("2024-02-23T15:56:30",), ARGUMENT),
    ("rfc3339_to_unix_ts", ("2024-02-30T15:56:30Z",), ARGUMENT),
    ("rfc3339_to_unix_ts", ("2024-02-23T15:56:30+24:00",), "bad_time_offset"),
    ("format_date", ("second", "+25:00", "%Y", 0), "bad_time_offset"),
    ("format_date", ("second", 0, "%Y", "now"), ARGUMENT),
    ("format_date", ("second", 0, "%Y", 10**20), ARGUMENT),
    ("format_date", ("second", 1, 2), ARGUMENT),
    ("format_date", ("second", 90_000, "%z", 0), ARGUMENT),
    ("date_to_unix_ts", ("second", "%y-%m-%d %H:%M:%S", "2022-05-26 10:40:12"), "bad_formatter_or_date"),
    ("date_to_unix_ts", ("second", "%Y-%m-%d %H:%M:%S", "2022-059999-26 10:40:12"), "bad_formatter_or_date"),
    ("date_to_unix_ts", ("second", "%Y-%m-%d %H:%M:%S", "2022-05-26 10:40:1"), "bad_formatter_or_date"),
    ("date_to_unix_ts", ("second", "%H:%M:%S", "10:40:12"), "{missing_date_part, year}"),
    ("date_to_unix_ts", ("second", "%Y-%d %H:%M:%S", "2022-32 10:40:12"), "{missing_date_part, month}"),
    ("date_to_unix_ts", ("second", "%Y-%m-%d %H:%M:%S", "2023-02-29 10:40:12"), ARGUMENT),
    ("hash", ("md6", "a"), "unknown_hash_algorithm"),
    ("base64_decode", ("aGVsbG8",), ARGUMENT),
    ("base64_decode", ("a*b=",), ARGUMENT),
    ("base64_decode", ("+/==", "urlsafe"), ARGUMENT),
    ("gunzip", ("no gzip",), ARGUMENT),
    ("gunzip", (gzip.compress(b"a") + b"b",), ARGUMENT),
    ("unzip", (b"\xcb\x48",), ARGUMENT),
    ("term_decode", ("abc",), ARGUMENT),
    ("term_decode", (b"\x83",), ARGUMENT),
    ("term_decode", (b"\x83a\x01\x00",), ARGUMENT),
    ("term_decode", (b"\x83l\xff\xff\xff\xffa",), ARGUMENT),
    ("term_decode", (b"\x83P\xff\xff\xff\xff",), "result_too_large"),
    ("term_decode", (b"\x83" + b"h\x01" * 50_000,), ARGUMENT),
    ("term_decode", (b"\x83Xpid",), ARGUMENT),
    ("bitsl", (1, 10**9), "result_too_large"),
    ("bitand", (1.0, 1), ARGUMENT),
    ("subbits", (b"\xff", 1, 8, "float"), ARGUMENT),
    ("subbits", (b"\x7f\x80\x00\x00", 1, 32, "float"), ARGUMENT),
    ("subbits", (b"\xff", 1, 8, "double"), ARGUMENT),
]  # fmt: skip


def _ids(rows: list[tuple[str, tuple[Any, ...], Any]]) -> list[str]:
    return [f"{index}-{name}" for index, (name, _, _) in enumerate(rows)]


@pytest.mark.parametrize(("name", "arguments", "expected"), VALUES, ids=_ids(VALUES))
def test_value(functions: FunctionTable, name: str, arguments: tuple[Any, ...], expected: Any) -> None:
    found = functions[name].call(*arguments)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("name", "arguments", "code"), ERRORS, ids=_ids(ERRORS))
def test_error(functions: FunctionTable, name: str, arguments: tuple[Any, ...], code: str) -> None:
    with pytest.raises(FunctionError) as caught:
        functions[name].call(*arguments)
    assert (caught.value.name, caught.value.code) == (name, code)
    assert len(str(caught.value)) < 400


def test_the_error_names_function_argument_and_value(functions: FunctionTable) -> None:
    with pytest.raises(FunctionError) as caught:
        functions["nth"].call("x" * 1_000, [1])
    assert str(caught.value) == f"nth(): argument 1 (position) must be an integer, not a string ('{'x' * 40}'...)"


def test_arguments_are_never_changed(functions: FunctionTable) -> None:
    document = {"a": {"b": 1}, "c": [1]}
    functions["map_put"].call("a.b", 2, document)
    functions["mput"].call(["a", "b"], 2, document)
    functions["map_put"].call("c.d", 2, document)
    assert document == {"a": {"b": 1}, "c": [1]}


def test_terms_come_back(functions: FunctionTable) -> None:
    value = {"a": [1, -1, 2**40, -(2**3000), 1.5, None, True, MISSING], "b": {"": []}, "c": list(range(300))}
    assert functions["term_decode"].call(functions["term_encode"].call(value)) == value


def test_a_small_payload_cannot_become_a_huge_value(functions: FunctionTable) -> None:
    bomb = functions["gzip"].call("a" * MAX_RESULT)
    assert functions["gunzip"].call(bomb) == "a" * MAX_RESULT
    nested = functions["zip"].call("a" * MAX_RESULT + "a")
    with pytest.raises(FunctionError) as caught:
        functions["unzip"].call(nested)
    assert caught.value.code == "result_too_large"


@pytest.mark.parametrize("zone", ["UTC", "<+08>-8", "<-0330>3:30", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_local_times_have_the_offset_of_their_instant(
    functions: FunctionTable, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        to_text, to_timestamp = functions["unix_ts_to_rfc3339"].call, functions["rfc3339_to_unix_ts"].call
        expected = {
            "UTC": "2024-02-23T07:00:00+00:00",
            "<+08>-8": "2024-02-23T15:00:00+08:00",
            "<-0330>3:30": "2024-02-23T03:30:00-03:30",
        }.get(zone, "2024-02-23T08:00:00+01:00")
        assert to_text(1708671600) == expected
        for instant in (1708671600_123, 1720000000_000, -1):
            assert to_timestamp(to_text(instant, "millisecond"), "millisecond") == instant
        now = functions["now_timestamp"].call()
        shift = functions["timezone_to_offset_seconds"].call("local")
        assert abs(functions["date_to_unix_ts"].call("second", shift, "%Y-%m-%dT%H:%M:%S", to_text(now)) - now) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_environment_variables_need_the_prefix_or_the_list() -> None:
    environment = {"EMQXVAR_SITE": "north", "SECRET": "x", "ZONE": "z", "EMQXVAR_ZONE": "own"}
    getenv = functions_for(Host(environment=environment, variables=frozenset({"ZONE", "UNSET"})))["getenv"]
    assert [getenv.call(name) for name in ("SITE", "ZONE", "UNSET")] == ["north", "own", ""]
    for name in ("SECRET", "EMQXVAR_SITE", "", "a\0b"):
        with pytest.raises(FunctionError, match="may not read") as caught:
            getenv.call(name)
        assert caught.value.code == "forbidden_variable"
    check = getenv.signatures[0][0].check
    assert check is not None
    check("SITE")
    with pytest.raises(Refusal) as refused:
        check("SECRET")
    assert refused.value.hint == "name it in `[functions] env`, or set EMQXVAR_SECRET"
    assert functions_for(Host(variables=None))["getenv"].call("ANY") == ""
