"""Syntax tree -> :class:`tree.Query`: names, paths, functions, evaluation order, and the whitelist.

Every node type that may appear has its method here and every argument it may carry is listed in
:data:`ALLOWED`; anything else is a diagnostic, also where sqlglot's tree was not made by our grammar. Binding goes
on after an error (the culprit counts as missing), so that one run finds them all.

A bare name that no output and no column has is *missing* for EMQX. In a rule file it is an error: a typo that silently
gives nothing on every message is the worst of outcomes. ``eval`` keeps EMQX's reading (``Columns.strict`` is False).
``null`` is such a name that is always missing: SQL authors mean by it what EMQX's authors mean by an unset variable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from sqlglot import exp

from core.errors import HeadraceError, TopicError
from core.message import Type
from core.topics import validate_filter
from rules.columns import Columns
from rules.diagnostics import Problems, suggestion
from rules.functions import FunctionTable
from rules.nodes import FROM_ARG, Foreach, Range, TopicMatch, span_of
from rules.scope import PAYLOAD, Outputs, Scope, Step
from rules.tree import (
    UNDEFINED,
    And,
    Append,
    Arithmetic,
    Call,
    Case,
    Cast,
    Column,
    Compare,
    Concat,
    Const,
    Expr,
    In,
    Index,
    IntegerRange,
    IsNull,
    Item,
    Key,
    Like,
    ListOf,
    Negate,
    Not,
    Opened,
    Or,
    Query,
    Ref,
    Slice,
    TopicMatches,
    Unnest,
)

ALLOWED: Final = MappingProxyType(
    {
        exp.Select: {"expressions", FROM_ARG, "joins", "where"},
        Foreach: {"expressions", "do", "incase", "tables", "where"},
        exp.From: {"this"},
        exp.Join: {"this"},
        exp.Table: {"this"},
        exp.Where: {"this"},
        exp.Alias: {"this", "alias"},
        exp.Star: set[str](),
        exp.Column: {"this"},
        exp.Identifier: {"this", "quoted"},
        exp.Dot: {"this", "expression"},
        exp.Bracket: {"this", "expressions"},
        Range: {"this", "expression"},
        exp.Literal: {"this", "is_string"},
        exp.Boolean: {"this"},
        exp.Array: {"expressions"},
        exp.Anonymous: {"this", "expressions"},
        exp.Paren: {"this"},
        exp.Case: {"this", "ifs", "default"},
        exp.If: {"this", "true"},
        exp.Cast: {"this", "to"},
        exp.DataType: {"this", "nested"},
        exp.In: {"this", "expressions"},
        exp.Between: {"this", "low", "high"},
        exp.Not: {"this"},
        exp.Neg: {"this"},
        exp.Null: set[str](),
        **{
            kind: {"this", "expression"}
            for kind in (
                *(exp.And, exp.Or, exp.Is, exp.Like, exp.ILike, TopicMatch, exp.DPipe),
                *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE),
                *(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod),
            )
        },
    }
)

_ARITHMETIC: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "div", exp.Mod: "mod"}
)
_COMPARISONS: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
)
_CAST_TYPES: Final = MappingProxyType(
    {"BOOLEAN": Type.BOOLEAN, "BIGINT": Type.BIGINT, "DOUBLE": Type.DOUBLE, "TEXT": Type.TEXT}
)
_OPERATOR_FUNCTIONS: Final = MappingProxyType({"div": "div", "mod": "mod"})
_MODULE_PREFIX: Final = "emqx_rule_funcs"


class Binder:
    """Binds one query. ``functions`` are what it may call; errors go to ``problems``."""

    def __init__(self, columns: Columns, functions: FunctionTable, problems: Problems) -> None:
        self._columns = columns
        self._functions = functions
        self._problems = problems
        self._scope = Scope([], columns.specs)
        self._condition = False

    # Queries

    def query(self, tree: exp.Expr) -> Query:
        """The bound query; of use only if ``problems`` found nothing."""
        self._check(tree)
        if isinstance(tree, exp.Select):
            return self._select(tree)
        if isinstance(tree, Foreach):
            return self._foreach(tree)
        self._refuse(tree)
        return Query(self._columns, (), (), None, None, ())

    def _select(self, tree: exp.Select) -> Query:
        source = tree.args.get(FROM_ARG)
        tables = [source.this] if source is not None else []
        for join in tree.args.get("joins") or ():
            self._check(join)
            tables.append(join.this)
        filters = self._filters(tables)
        outputs = Outputs()
        for field in tree.expressions:
            self._field(field, outputs)
        where = self._where(tree)
        return Query(self._columns, filters, tuple(self._scope.lets), where, None, outputs.resolve())

    def _foreach(self, tree: Foreach) -> Query:
        filters = self._filters(tree.args["tables"])
        *before, last = tree.expressions
        outputs = Outputs()
        for field in before:
            self._field(field, outputs)
        scope = self._scope
        array, item = self._array_of(last)
        where = self._where(tree)
        first_let = len(scope.lets)
        base = {name: scope.value(index) for name, index in scope.names.items()} | {item: Item()}
        self._scope = Scope(scope.lets, self._columns.specs, base)
        incase = tree.args.get("incase")
        condition = None if incase is None else self._as_condition(incase)
        inner = Outputs()
        if tree.args.get("do"):
            for field in tree.args["do"]:
                self._field(field, inner)
        else:
            self._star(inner)
        lets = tuple(self._scope.lets)
        return Query(self._columns, filters, lets, where, Unnest(array, first_let, condition), inner.resolve())

    def _array_of(self, field: exp.Expr) -> tuple[Expr, str]:
        """What FOREACH visits and what it calls an element: the last field, which WHERE may read by its alias."""
        scope = self._scope
        name = "item"
        if isinstance(field, exp.Star):
            self._refuse(field)
            return UNDEFINED, name
        aliased = isinstance(field, exp.Alias)
        value = self.expression(field.this if aliased else field)
        index = scope.add(Opened(value) if value == Column(PAYLOAD) else value)
        if aliased:
            self._check(field)
            alias = field.args["alias"]
            name = _root(alias)
            if not isinstance(alias, exp.Column):
                self._problems.add("bad-path", "an element of FOREACH has a plain name", span_of(alias))
            scope.names[name] = index
        return Ref(index), name

    def _filters(self, tables: list[exp.Expr]) -> tuple[str, ...]:
        filters: list[str] = []
        for table in tables:
            self._check(table)
            if not isinstance(table, exp.Table):
                self._refuse(table)
                continue
            name = table.name
            event = name.startswith(("$events/", "$bridges/", "$sources/"))
            if event and self._columns.strict:
                self._problems.add(
                    "unsupported",
                    f"{name!r} is not a topic of messages; events are not a source of rules yet",
                    span_of(table),
                )
                continue
            try:
                validate_filter(name)
            except TopicError as error:
                self._problems.add("bad-topic-filter", str(error), span_of(table))
            if name not in filters:
                filters.append(name)
        return tuple(filters)

    def _where(self, tree: exp.Expr) -> Expr | None:
        where = tree.args.get("where")
        if where is None:
            return None
        self._check(where)
        return self._as_condition(where.this)

    def _as_condition(self, tree: exp.Expr) -> Expr:
        self._condition = True
        try:
            return self.expression(tree)
        finally:
            self._condition = False

    # Fields

    def _field(self, tree: exp.Expr, outputs: Outputs) -> None:
        self._check(tree)
        if isinstance(tree, exp.Star):
            self._star(outputs)
            return
        scope = self._scope
        if isinstance(tree, exp.Alias):
            value = self.expression(tree.this)
            alias = tree.args["alias"]
            name = _root(alias)
            scope.write(name, self._alias_steps(alias), value)
            outputs.named(name, scope.names[name])
            return
        value = self.expression(tree)
        if isinstance(tree, exp.Column | exp.Dot | exp.Bracket) and (name := _root(tree)):
            scope.write(name, self._alias_steps(tree), value)
            outputs.named(name, scope.names[name])
        elif isinstance(tree, exp.Literal) and tree.is_string:
            scope.write(tree.name, (), value)
            outputs.named(tree.name, scope.names[tree.name])
        else:
            hint = tree.name if isinstance(tree, exp.Anonymous) else "case" if isinstance(tree, exp.Case) else ""
            outputs.generated(hint, scope.add(value))

    def _star(self, outputs: Outputs) -> None:
        scope = self._scope
        for name in [*self._columns.specs, *(name for name in scope.base if name not in self._columns.specs)]:
            hidden = scope.names.pop(name, None)
            value = scope.read(name, [], condition=True)
            scope.names[name] = hidden if hidden is not None and scope.value(hidden) == value else scope.add(value)
            outputs.named(name, scope.names[name])

    def _alias_steps(self, tree: exp.Expr) -> tuple[Expr, ...]:
        """The steps below the root of a path that is written to; a range at its end counts for nothing."""
        steps: list[Expr] = []
        while isinstance(tree, exp.Dot | exp.Bracket):
            self._check(tree)
            if isinstance(tree, exp.Dot):
                steps.append(Const(tree.expression.name, Type.TEXT, span=span_of(tree.expression)))
            elif not isinstance(tree.expressions[0], Range):
                steps.append(self._written_index(tree.expressions[0]))
            tree = tree.this
        return tuple(reversed(steps))

    def _written_index(self, tree: exp.Expr) -> Expr:
        if isinstance(tree, exp.Neg) and isinstance(tree.this, exp.Literal) and tree.this.name == "0":
            return Append(span=span_of(tree))
        index = self.expression(tree)
        if isinstance(index, Const) and index.type is not Type.BIGINT:
            self._problems.add("bad-path", "an index is a whole number", span_of(tree))
        return index

    # Expressions

    def expression(self, tree: exp.Expr) -> Expr:
        """The bound expression with its place."""
        method = _METHODS.get(type(tree))
        if method is None or not self._check(tree):
            if method is None:
                self._refuse(tree)
            return UNDEFINED
        bound = method(self, tree)
        return bound if bound is UNDEFINED or bound.span == span_of(tree) else replace(bound, span=span_of(tree))

    def _check(self, tree: exp.Expr) -> bool:
        allowed = ALLOWED.get(type(tree))
        if allowed is None:
            self._refuse(tree)
            return False
        extra = [name for name, value in tree.args.items() if value and name not in allowed]
        for name in extra:
            self._problems.add("unsupported", f"{name.rstrip('_').upper()} is not supported here", span_of(tree))
        return not extra

    def _refuse(self, tree: exp.Expr) -> None:
        self._problems.add("unsupported", f"{type(tree).__name__.upper()} is not supported in a rule", span_of(tree))

    def _paren(self, tree: exp.Expr) -> Expr:
        return self.expression(tree.this)

    def _literal(self, tree: exp.Expr) -> Expr:
        text = tree.name
        if tree.is_string:
            return Const(text, Type.TEXT)
        try:
            return Const(float(text), Type.DOUBLE) if "." in text else Const(int(text), Type.BIGINT)
        except ValueError:
            self._problems.add("syntax", "this number has too many digits", span_of(tree))
            return UNDEFINED

    def _boolean(self, tree: exp.Expr) -> Expr:
        return Const(bool(tree.this), Type.BOOLEAN)

    def _path(self, tree: exp.Expr) -> Expr:
        steps: list[Step] = []
        whole = tree
        while isinstance(tree, exp.Dot | exp.Bracket):
            if tree is not whole and not self._check(tree):
                return UNDEFINED
            steps.append(self._step(tree))
            tree = tree.this
        steps.reverse()
        if not isinstance(tree, exp.Column):
            value = self.expression(tree)
            for step in steps:
                value = step(value)
            return value
        self._check(tree)
        name = tree.name
        if not self._scope.knows(name) and name.lower() != "null" and self._columns.strict:
            hint = suggestion(name, [*self._columns.specs, *self._scope.names, *self._scope.base])
            self._problems.add(
                "unknown-column",
                f"there is no column {name!r}",
                span_of(tree),
                hint=hint or f"fields of the payload are written {PAYLOAD}.{name}, texts 'like this'",
            )
        return self._scope.read(name, steps, condition=self._condition)

    def _step(self, tree: exp.Expr) -> Step:
        if isinstance(tree, exp.Dot):
            name = tree.expression.name
            return lambda base: Key(base, name)
        index = tree.expressions[0]
        if isinstance(index, Range):
            first, last = self.expression(index.this), self.expression(index.expression)
            return lambda base: Slice(base, first, last)
        place = self.expression(index)
        return lambda base: Index(base, place)

    def _range(self, tree: exp.Expr) -> Expr:
        return IntegerRange(self.expression(tree.this), self.expression(tree.expression))

    def _array(self, tree: exp.Expr) -> Expr:
        return ListOf(tuple(self.expression(item) for item in tree.expressions))

    def _arithmetic(self, tree: exp.Expr) -> Expr:
        operator: Any = _ARITHMETIC[type(tree)]
        return Arithmetic(operator, self.expression(tree.this), self.expression(tree.expression))

    def _compare(self, tree: exp.Expr) -> Expr:
        operator: Any = _COMPARISONS[type(tree)]
        return Compare(operator, self.expression(tree.this), self.expression(tree.expression))

    def _topic_matches(self, tree: exp.Expr) -> Expr:
        return TopicMatches(self.expression(tree.this), self.expression(tree.expression))

    def _concat(self, tree: exp.Expr) -> Expr:
        return Concat(self.expression(tree.this), self.expression(tree.expression))

    def _negate(self, tree: exp.Expr) -> Expr:
        operand = self.expression(tree.this)
        if isinstance(operand, Const) and operand.type in (Type.BIGINT, Type.DOUBLE):
            return Const(-operand.value, operand.type)
        return Negate(operand)

    def _not(self, tree: exp.Expr) -> Expr:
        return Not(self.expression(tree.this))

    def _connector(self, tree: exp.Expr) -> Expr:
        kind = type(tree)
        operands: list[Expr] = []
        stack = [tree]
        while stack:
            node = stack.pop()
            if type(node) is kind:
                self._check(node)
                stack += [node.args["expression"], node.this]
            else:
                operands.append(self.expression(node))
        return And(tuple(operands)) if kind is exp.And else Or(tuple(operands))

    def _is_null(self, tree: exp.Expr) -> Expr:
        if not isinstance(tree.expression, exp.Null):
            self._refuse(tree)
        return IsNull(self.expression(tree.this))

    def _in(self, tree: exp.Expr) -> Expr:
        return In(self.expression(tree.this), tuple(self.expression(item) for item in tree.expressions))

    def _between(self, tree: exp.Expr) -> Expr:
        operand = self.expression(tree.this)
        low = Compare(">=", operand, self.expression(tree.args["low"]), span=span_of(tree))
        return And((low, Compare("<=", operand, self.expression(tree.args["high"]), span=span_of(tree))))

    def _like(self, tree: exp.Expr) -> Expr:
        return Like(self.expression(tree.this), self.expression(tree.expression), isinstance(tree, exp.ILike))

    def _case(self, tree: exp.Expr) -> Expr:
        operand = tree.args.get("this")
        branches = []
        bound = None if operand is None else self.expression(operand)
        for branch in tree.args["ifs"]:
            self._check(branch)
            branches.append((self.expression(branch.this), self.expression(branch.args["true"])))
        default = tree.args.get("default")
        return Case(bound, tuple(branches), UNDEFINED if default is None else self.expression(default))

    def _cast(self, tree: exp.Expr) -> Expr:
        to = tree.args["to"]
        self._check(to)
        wanted = _CAST_TYPES.get(to.this.value)
        if wanted is None:
            self._problems.add("unsupported", f"CAST to {to.this.value} is not supported", span_of(to))
            return UNDEFINED
        return Cast(self.expression(tree.this), wanted)

    def _call(self, tree: exp.Expr) -> Expr:
        name = tree.name
        arguments = tuple(self.expression(argument) for argument in tree.expressions)
        function = self._function(name, tree)
        if name in _OPERATOR_FUNCTIONS and len(arguments) == 2:
            operator: Any = _OPERATOR_FUNCTIONS[name]
            return Arithmetic(operator, *arguments)
        if function is None:
            return UNDEFINED
        least, most = function.min_args, function.max_args
        if len(arguments) < least or (most is not None and len(arguments) > most):
            wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
            plural = "" if wanted == "1" else "s"
            self._problems.add(
                "wrong-arity",
                f"{name}() takes {wanted} argument{plural}, not {len(arguments)}",
                span_of(tree),
                hint=function.doc.partition("\n")[0],
            )
            return UNDEFINED
        return _folded(Call(function, name, arguments))

    def _function(self, name: str, tree: exp.Expr) -> Any:
        try:
            function = self._functions.get(name)
        except HeadraceError as error:
            self._problems.add("unknown-function", str(error), span_of(tree))
            return None
        if function is None and name not in _OPERATOR_FUNCTIONS:
            hint = suggestion(name, self._functions.names())
            message = f"there is no function {name!r}"
            if name.startswith(_MODULE_PREFIX):
                message += " (sql_function_provider_module_not_loaded)"
            self._problems.add("unknown-function", message, span_of(tree), hint=hint)
        return function


def _folded(call: Call) -> Expr:
    """The value of a pure call of constants, where it is a plain one; an error stays for the run."""
    if not call.function.pure or not all(isinstance(argument, Const) for argument in call.arguments):
        return call
    try:
        value = call.function.call(*(argument.value for argument in call.arguments if isinstance(argument, Const)))
    except (HeadraceError, ArithmeticError, ValueError, TypeError):
        return call
    kind = _PLAIN.get(type(value))
    return call if kind is None else Const(value, kind)


_PLAIN: Final = MappingProxyType({bool: Type.BOOLEAN, int: Type.BIGINT, float: Type.DOUBLE, str: Type.TEXT})


def _root(tree: exp.Expr) -> str:
    """The name that a path begins with, empty where it begins with something else."""
    while isinstance(tree, exp.Dot | exp.Bracket):
        tree = tree.this
    return tree.name if isinstance(tree, exp.Column) else ""


_Method = Callable[[Binder, Any], Expr]
_METHODS: Final[dict[type[exp.Expr], _Method]] = {
    exp.Paren: Binder._paren,
    exp.Literal: Binder._literal,
    exp.Boolean: Binder._boolean,
    exp.Column: Binder._path,
    exp.Dot: Binder._path,
    exp.Bracket: Binder._path,
    Range: Binder._range,
    exp.Array: Binder._array,
    exp.DPipe: Binder._concat,
    exp.Neg: Binder._negate,
    exp.Not: Binder._not,
    exp.And: Binder._connector,
    exp.Or: Binder._connector,
    exp.Is: Binder._is_null,
    exp.In: Binder._in,
    exp.Between: Binder._between,
    exp.Like: Binder._like,
    exp.ILike: Binder._like,
    exp.Case: Binder._case,
    exp.Cast: Binder._cast,
    exp.Anonymous: Binder._call,
    TopicMatch: Binder._topic_matches,
    **dict.fromkeys(_ARITHMETIC, Binder._arithmetic),
    **dict.fromkeys(_COMPARISONS, Binder._compare),
}
