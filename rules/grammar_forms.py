"""What SQL writes in ways of its own beside plain calls: types, CAST, literals of time, EXTRACT, objects, TRIM.

A word begins a form only where what follows can mean nothing else in EMQX's grammar (``INTERVAL '1 day'``,
``EXTRACT(hour FROM``), so that all of these words stay names.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from sqlglot import Token, TokenType, exp

from rules.functions.decimals import MAX_PRECISION
from rules.functions.intervals import UNIT_NAMES, unit_of
from rules.grammar_base import WORD_TOKENS, BaseGrammar
from rules.nodes import AtTimeZone, Extract, IntervalLiteral, ObjectLiteral, TimestampLiteral, TypeName, mark

_TYPES: Final = MappingProxyType(
    {
        "BOOLEAN": "BOOLEAN",
        "BOOL": "BOOLEAN",
        "SMALLINT": "BIGINT",
        "INT": "BIGINT",
        "INTEGER": "BIGINT",
        "BIGINT": "BIGINT",
        "FLOAT": "DOUBLE",
        "REAL": "DOUBLE",
        "DOUBLE": "DOUBLE",
        "DECIMAL": "DECIMAL",
        "NUMERIC": "DECIMAL",
        "TEXT": "TEXT",
        "STRING": "TEXT",
        "VARCHAR": "TEXT",
        "BYTES": "BYTES",
        "BYTEA": "BYTES",
        "BLOB": "BYTES",
        "TIMESTAMP": "TIMESTAMP",
        "TIMESTAMPTZ": "TIMESTAMP",
        "INTERVAL": "INTERVAL",
        "ARRAY": "ARRAY",
        "OBJECT": "OBJECT",
        "MAP": "OBJECT",
    }
)
_HINT: Final = "types are BOOLEAN, BIGINT, DOUBLE, DECIMAL, TEXT, BYTES, TIMESTAMP, INTERVAL, ARRAY and OBJECT"


_OPERANDS: Final = frozenset({TokenType.STRING, TokenType.VAR, TokenType.IDENTIFIER, TokenType.FROM})
_TRIMS: Final = MappingProxyType({"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"})


class FormGrammar(BaseGrammar):
    """Productions of forms; ``_form`` tries them all."""

    def _form(self) -> exp.Expr | None:
        """The form that begins here, None where none does."""
        first, following = self._curr, self._next
        if first.token_type is not TokenType.VAR:
            return None
        word = first.text.upper()
        if following.token_type is TokenType.L_PAREN:
            if word == "CAST" or word == "TRY_CAST":
                return self._cast(exp.Cast if word == "CAST" else exp.TryCast)
            special = _CALLS.get(word)
            if special is not None:
                return special(self)
            behind = self._ahead(3)
            if word == "EXTRACT" and behind is not None and behind.token_type is TokenType.FROM:
                return self._extract()
        elif word == "INTERVAL" and (
            following.token_type is TokenType.STRING
            or (following.token_type is TokenType.NUMBER and self._unit(self._ahead(2)))
        ):
            return self._interval()
        elif word == "TIMESTAMP" and following.token_type is TokenType.STRING:
            self._advance()
            return mark(TimestampLiteral(this=self._literal("a text")), first, self._prev)
        return None

    # Calls with words among their arguments

    def _called(self, name: str, arguments: list[exp.Expr], first: Token) -> exp.Expr:
        while self._match(TokenType.COMMA):
            arguments.append(self._condition())
            self._check_count(len(arguments))
        self._expect(TokenType.R_PAREN, "',' or ')'")
        return mark(exp.Anonymous(this=name, expressions=arguments), first, self._prev)

    def _first_argument(self) -> list[exp.Expr]:
        """Step into a call; its first argument, none where it has none."""
        self._advance(2)
        return [] if self._curr.token_type in (TokenType.R_PAREN, TokenType.FROM) else [self._condition()]

    def _substring(self) -> exp.Expr:
        """``substring(x FROM start FOR count)``, or a plain call."""
        first = self._curr
        arguments = self._first_argument()
        if self._match(TokenType.FROM):
            arguments.append(self._condition())
            if self._word("FOR"):
                arguments.append(self._condition())
        elif self._word("FOR"):
            arguments += [mark(exp.Literal.number(1), first, first), self._condition()]
        return self._called(first.text, arguments, first)

    def _trim(self) -> exp.Expr:
        """``trim(BOTH 'x' FROM text)``, LEADING or TRAILING, or a plain call."""
        first = self._curr
        name = first.text
        side = self._ahead(2)
        if side is not None and self._is_word(side, *_TRIMS) and self._begins_operand(self._ahead(3)):
            name = _TRIMS[side.text.upper()]
            self._advance()
        characters = self._first_argument()
        if name is not first.text or self._curr.token_type is TokenType.FROM:
            self._expect(TokenType.FROM, "FROM")
            return self._called(name.lower(), [self._condition(), *characters], first)
        return self._called(name, characters, first)

    @staticmethod
    def _begins_operand(token: Token | None) -> bool:
        return token is not None and token.token_type in _OPERANDS

    def _position(self) -> exp.Expr:
        """``position(wanted IN text)``."""
        first = self._curr
        self._advance(2)
        wanted = self._concatenation()
        self._expect(TokenType.IN, "IN")
        return self._called("strpos", [self._concatenation(), wanted], first)

    def _object(self, first: Token) -> exp.Expr:
        """What follows ``{``."""
        keys: list[exp.Expr] = []
        values: list[exp.Expr] = []
        if not self._match(TokenType.R_BRACE):
            while True:
                keys.append(self._key())
                self._expect(TokenType.COLON, "':'")
                values.append(self._condition())
                self._check_count(len(keys))
                if not self._match(TokenType.COMMA):
                    break
            self._expect(TokenType.R_BRACE, "',' or '}'")
        return mark(ObjectLiteral(keys=keys, expressions=values), first, self._prev)

    def _key(self) -> exp.Expr:
        token = self._curr
        named = token.token_type in WORD_TOKENS or token.token_type is TokenType.IDENTIFIER
        if not named and token.token_type is not TokenType.STRING:
            raise self._unexpected("a key, such as 'name'")
        self._advance()
        return mark(exp.Literal.string(token.text), token, token)

    # Types and casts

    def _cast(self, kind: type[exp.Cast]) -> exp.Expr:
        first = self._curr
        self._advance(2)
        value = self._condition()
        self._expect(TokenType.ALIAS, "AS and a type")
        cast = kind(this=value, to=self._type())
        self._expect(TokenType.R_PAREN, "')'")
        return mark(cast, first, self._prev)

    def _type(self) -> TypeName:
        token = self._curr
        word = token.text.upper()
        name = _TYPES.get(word) if token.token_type is TokenType.VAR else None
        if name is None:
            raise self._unexpected("a type", hint=_HINT)
        self._advance()
        if word == "DOUBLE":
            self._word("PRECISION")
        elif word == "TIMESTAMP" and self._is_word(self._curr, "WITH", "WITHOUT"):
            self._time_zone_of_type()
        node = TypeName(this=name)
        if self._curr.token_type is TokenType.L_PAREN:
            if name != "DECIMAL":
                raise self._unsupported(
                    "a length or precision of a type", hint="leave it out; left(x, 5) shortens a text"
                )
            self._digits(node)
        return mark(node, token, self._prev)

    def _time_zone_of_type(self) -> None:
        if self._is_word(self._curr, "WITHOUT"):
            raise self._unsupported("TIMESTAMP WITHOUT TIME ZONE", hint="a TIMESTAMP is an instant; write TIMESTAMP")
        self._advance()
        if not (self._word("TIME") and self._word("ZONE")):
            raise self._unexpected("TIME ZONE after WITH")

    def _digits(self, node: TypeName) -> None:
        self._advance()
        precision = self._whole(1, MAX_PRECISION)
        scale = self._whole(0, precision) if self._match(TokenType.COMMA) else 0
        self._expect(TokenType.R_PAREN, "')'")
        node.set("precision", precision)
        node.set("scale", scale)

    def _whole(self, least: int, most: int) -> int:
        token = self._curr
        if token.token_type is not TokenType.NUMBER or not token.text.isdigit() or len(token.text) > 4:
            raise self._unexpected(f"a whole number from {least} to {most}")
        number = int(token.text)
        if not least <= number <= most:
            raise self._unexpected(f"a whole number from {least} to {most}")
        self._advance()
        return number

    # Time

    @staticmethod
    def _unit(token: Token | None) -> str | None:
        return unit_of(token.text) if token is not None and token.token_type is TokenType.VAR else None

    def _interval(self) -> exp.Expr:
        first = self._curr
        self._advance()
        literal = self._literal("a text or a number")
        node = IntervalLiteral(this=literal)
        unit = self._unit(self._curr)
        if unit is not None and self._ends_interval():
            self._advance()
            node.set("unit", unit)
            if self._is_word(self._curr, "TO"):
                raise self._unsupported("a range of units", hint="write the parts: INTERVAL '1 day 02:30:00'")
        elif not literal.is_string:
            raise self._unexpected(f"a unit ({', '.join(UNIT_NAMES)})")
        return mark(node, first, self._prev)

    def _ends_interval(self) -> bool:
        """Is the word here the unit of an INTERVAL and no alias? ``SELECT INTERVAL '1 day' d`` names a column."""
        literal = self._prev
        return literal.token_type is TokenType.NUMBER or literal.text.strip().lstrip("+-").replace(".", "").isdigit()

    def _extract(self) -> exp.Expr:
        first = self._curr
        self._advance(2)
        token = self._curr
        if token.token_type is TokenType.STRING:
            self._advance()
            field = mark(exp.Identifier(this=token.text, quoted=False), token, token)
        else:
            field = self._name("a field such as EPOCH or HOUR")
        self._expect(TokenType.FROM, "FROM")
        node = Extract(this=self._condition(), field=field)
        self._expect(TokenType.R_PAREN, "')'")
        return mark(node, first, self._prev)

    def _zone(self, node: exp.Expr, first: Token) -> exp.Expr:
        """What follows ``AT TIME``."""
        if not self._word("ZONE"):
            raise self._unexpected("ZONE after AT TIME")
        if self._curr.token_type is not TokenType.STRING:
            raise self._unexpected("the name of a time zone, such as 'Europe/Berlin'")
        return mark(AtTimeZone(this=node, zone=self._literal("a text")), first, self._prev)


_CALLS: Final[MappingProxyType[str, Callable[[FormGrammar], exp.Expr]]] = MappingProxyType(
    {
        "SUBSTRING": FormGrammar._substring,
        "TRIM": FormGrammar._trim,
        "POSITION": FormGrammar._position,
    }
)
