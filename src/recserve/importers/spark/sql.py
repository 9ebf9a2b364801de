"""Spark's SQLTransformer, as far as it computes columns of one row: arithmetic, comparisons, CASE, and functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from recserve.errors import ConfigError, suggest
from recserve.importers.pipelines.frame import Column, Frame, as_number, as_string
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.spark.features import Pipeline, stage
from recserve.importers.spark.saved import SavedStage
from recserve.scoring.graph import Value

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:BD|[DdFfLlSsYy])?(?![\w.])"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<quoted>`(?:[^`]|``)+`)|(?P<name>[A-Za-z_]\w*)|(?P<mark><=>|<=|>=|<>|!=|==|[-+*/%(),=<>.]))"
)
_ONE = {
    "log": "log",
    "ln": "log",
    "log10": "log10",
    "log2": "log2",
    "log1p": "log1p",
    "exp": "exp",
    "expm1": "expm1",
    "sqrt": "sqrt",
    "abs": "abs",
    "floor": "floor",
    "ceil": "ceil",
    "ceiling": "ceil",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "signum": "sign",
    "sign": "sign",
    "rint": "rint",
}
_TEXT = {"lower": "lowercase", "lcase": "lowercase", "upper": "uppercase", "ucase": "uppercase", "trim": "trim"}
_COMPARE = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_LOG_POSITIVE = {"log", "log10", "log2"}
_DEPTH_LIMIT = 40


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str

    @property
    def word(self) -> str:
        """The text in upper case where it is a bare name, for key words."""
        return self.text.upper() if self.kind == "name" else self.text if self.kind == "mark" else ""


class _Reader:
    """Reads a statement from left to right."""

    def __init__(self, frame: Frame, statement: str) -> None:
        self.frame, self.graph, self.at, self.depth, self.in_text = frame, frame.graph, 0, 0, 0
        self.tokens: list[_Token] = []
        place = 0
        while statement[place:].strip():
            match = _TOKEN.match(statement, place)
            if match is None or match.lastgroup is None:
                raise self.refuse(f"{statement[place : place + 20]!r} cannot be read")
            self.tokens.append(_Token(match.lastgroup, match.group(match.lastgroup)))
            place = match.end()

    @staticmethod
    def refuse(problem: str) -> ConfigError:
        """The error for SQL that is beyond this reader."""
        return ConfigError(f"SQL statement: {problem}", code="unsupported_element")

    @property
    def next(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _Token("end", "")

    def take(self, *words: str) -> bool:
        """Whether the next token is one of these, which is then passed."""
        if self.next.word in words:
            self.at += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise self.refuse(f"{word} is expected where {self.next.text!r} is")

    def name(self) -> str:
        token = self.next
        self.at += 1
        if token.kind == "quoted":
            return token.text[1:-1].replace("``", "`")
        if token.kind != "name":
            raise self.refuse(f"a name is expected where {token.text!r} is")
        return token.text

    def statement(self) -> dict[str, Column]:
        """The new columns of a SELECT, by name."""
        found: dict[str, Column] = {}
        self.need("SELECT")
        while True:
            if self.take("*"):
                pass
            else:
                start = self.at
                column = self.column()
                if self.take("AS") or (self.next.kind in {"name", "quoted"} and self.next.word != "FROM"):
                    found[self.name()] = column
                elif self.at == start + 1 and self.tokens[start].kind in {"name", "quoted"}:
                    pass  # a column as it is
                else:
                    raise self.refuse(f"the expression before {self.next.text!r} has no name")
            if not self.take(","):
                break
        self.need("FROM")
        self.need("__THIS__")
        if self.next.kind != "end":
            raise self.refuse(f"{self.next.text!r} after FROM __THIS__ is not supported")
        return found

    def column(self) -> Column:
        """An expression, or a bare column, which may be a vector."""
        token = self.next
        following = self.tokens[self.at + 1].word if self.at + 1 < len(self.tokens) else ""
        if token.kind in {"name", "quoted"} and following in {",", "AS", "FROM"} and token.word != "NULL":
            return self.frame.get(self.name())
        return self.any_of()

    def any_of(self) -> Value:
        self.depth += 1
        if self.depth > _DEPTH_LIMIT:
            raise self.refuse(f"expressions lie within each other more than {_DEPTH_LIMIT} deep")
        found = self.chain(self.all_of, {"OR": "or"}, "boolean")
        self.depth -= 1
        return found

    def all_of(self) -> Value:
        return self.chain(self.negation, {"AND": "and"}, "boolean")

    def negation(self) -> Value:
        if self.take("NOT", "!"):
            return self.graph.apply("not", self.boolean(self.negation()))
        return self.comparison()

    def comparison(self) -> Value:
        left = self.sum_of()
        word = self.next.word
        if word in _COMPARE and self.take(word):
            return self.graph.apply(_COMPARE[word], self.number(left), self.number(self.sum_of()))
        if self.take("=", "=="):
            return self.graph.apply("equal", *self.alike(left, self.sum_of()))
        if self.take("<>", "!="):
            return self.graph.apply("not_equal", *self.alike(left, self.sum_of()))
        if self.take("IS"):
            negated = self.take("NOT")
            self.need("NULL")
            return self.graph.apply("is_known" if negated else "is_missing", left)
        negated = self.take("NOT")
        if self.take("BETWEEN"):
            low = self.graph.apply("greater_equal", self.number(left), self.number(self.sum_of()))
            self.need("AND")
            high = self.graph.apply("less_equal", self.number(left), self.number(self.sum_of()))
            found = self.graph.apply("and", low, high)
        elif self.take("IN"):
            same = [self.graph.apply("equal", *self.alike(left, item)) for item in self.arguments()]
            found = self.graph.apply("or", *same)
        elif negated:
            raise self.refuse(f"NOT before {self.next.text!r} is not supported")
        else:
            return left
        return self.graph.apply("not", found) if negated else found

    def sum_of(self) -> Value:
        return self.chain(self.product, {"+": "add", "-": "subtract"}, "number")

    def product(self) -> Value:
        return self.chain(self.signed, {"*": "multiply", "/": "divide", "%": "remainder"}, "number")

    def chain(self, operand: Callable[[], Value], ops: dict[str, str], dtype: str) -> Value:
        """Operands with operators of one precedence between them."""
        convert = self.number if dtype == "number" else self.boolean
        found = operand()
        while self.next.word in ops:
            op = ops[self.next.word]
            self.at += 1
            right = convert(operand())
            found = self.graph.apply(op, convert(found), right)
            if op in {"divide", "remainder"}:  # nothing is what SQL makes of a division by zero
                found = self.graph.apply("mark_missing", found, self.graph.apply("equal", right, 0.0))
        return found

    def signed(self) -> Value:
        if self.take("-"):
            return self.graph.apply("negate", self.number(self.signed()))
        return self.signed() if self.take("+") else self.primary()

    def primary(self) -> Value:
        token = self.next
        if token.kind == "number":
            self.at += 1
            return self.graph.constant(float(token.text))
        if token.kind == "text":
            self.at += 1
            return self.graph.constant(re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        if self.take("("):
            found = self.any_of()
            self.need(")")
            return found
        if self.take("TRUE", "FALSE"):
            return self.graph.constant(token.word == "TRUE")
        if self.take("NULL"):
            return self.graph.missing("number")
        if self.take("CASE"):
            return self.case()
        if self.take("CAST"):
            return self.cast()
        name = self.name()
        if token.kind == "name" and self.next.word == "(":
            takes_text = int(name.lower() in {*_TEXT, "concat"})
            self.in_text += takes_text
            given = self.arguments()
            self.in_text -= takes_text
            return self.call(name.lower(), given)
        return self.field(name)

    def field(self, name: str) -> Value:
        """A column of the frame. What a comparison with a text meets first is a text."""
        following, after = (
            self.tokens[self.at + i] if self.at + i < len(self.tokens) else _Token("end", "") for i in (0, 1)
        )
        if not self.frame.has(name) and following.word in {"=", "==", "<>", "!=", "WHEN"} and after.kind == "text":
            return self.frame.string(name)
        if not self.frame.has(name) and self.in_text:
            return self.frame.string(name)
        if not self.frame.has(name) and following.word == "IN":
            inside = self.tokens[self.at + 2] if self.at + 2 < len(self.tokens) else after
            return self.frame.string(name) if inside.kind == "text" else self.frame.number(name)
        column = self.frame.get(name)
        if isinstance(column, Value):
            return column
        if isinstance(column, Vector) and column.size == 1:
            return column.element(0)
        raise self.refuse(f"column {name!r} is no single value")

    def arguments(self) -> list[Value]:
        self.need("(")
        found = []
        while not self.take(")"):
            found.append(self.any_of())
            if not self.take(",") and self.next.word != ")":
                raise self.refuse(f"',' or ')' is expected where {self.next.text!r} is")
        return found

    def case(self) -> Value:
        subject = None if self.next.word == "WHEN" else self.any_of()
        branches = []
        while self.take("WHEN"):
            test = self.any_of()
            condition = self.boolean(test) if subject is None else self.graph.apply("equal", *self.alike(subject, test))
            self.need("THEN")
            branches.append((condition, self.any_of()))
        if not branches:
            raise self.refuse("CASE has no WHEN")
        found = self.any_of() if self.take("ELSE") else self.graph.missing(branches[0][1].dtype)
        self.need("END")
        for condition, value in reversed(branches):
            found = self.choose(condition, value, found)
        return found

    def choose(self, condition: Value, yes: Value, no: Value) -> Value:
        yes, no = self.alike(yes, no)
        return self.graph.apply("select_or", condition, yes, no, no)

    def cast(self) -> Value:
        self.need("(")
        value = self.any_of()
        self.need("AS")
        kind = self.name().lower()
        self.need(")")
        if kind in {"double", "float"}:
            number = self.number(value)
            return self.graph.apply("to_float32", number) if kind == "float" else number
        if kind in {"int", "integer", "bigint", "long", "smallint"}:
            return self.graph.apply("truncate", self.number(value))
        if kind == "string":
            return as_string(self.graph, value)
        raise self.refuse(f"CAST to {kind!r} is not supported")

    def call(self, name: str, given: list[Value]) -> Value:
        graph, count = self.graph, len(given)
        if name in _ONE and count == 1:
            x = self.number(given[0])
            if name in {"ln", *_LOG_POSITIVE}:  # SQL has no logarithm of what is not positive
                x = graph.apply("mark_missing", x, graph.apply("less_equal", x, 0.0))
            return graph.apply(_ONE[name], x)
        if name in _TEXT and count == 1:
            return graph.apply(_TEXT[name], as_string(graph, given[0]))
        if name in {"pow", "power"} and count == 2:
            return graph.apply("power", *[self.number(value) for value in given])
        if name in {"greatest", "least"} and count > 1:
            op = "max" if name == "greatest" else "min"
            return graph.apply(op, *[self.number(value) for value in given], skip_missing=True)
        if name in {"coalesce", "ifnull", "nvl"} and count:
            found = given[-1]
            for value in reversed(given[:-1]):
                value, found = self.alike(value, found)  # noqa: PLW2901
                found = graph.apply("replace_missing", value, found)
            return found
        if name == "if" and count == 3:
            return self.choose(self.boolean(given[0]), given[1], given[2])
        if name == "concat" and count:
            return graph.apply("concat", *[as_string(graph, value) for value in given])
        if name in {"isnull", "isnotnull"} and count == 1:
            return graph.apply("is_missing" if name == "isnull" else "is_known", given[0])
        known = [*_ONE, *_TEXT, "pow", "greatest", "least", "coalesce", "if", "concat"]
        hint = suggest(name, known)
        raise self.refuse(f"function {name!r} of {count} arguments is not supported" + (f". {hint}" if hint else ""))

    def number(self, value: Value) -> Value:
        return as_number(self.graph, value)

    def boolean(self, value: Value) -> Value:
        if value.dtype != "boolean":
            raise self.refuse(f"a {value.dtype} stands where a condition belongs")
        return value

    def alike(self, first: Value, second: Value) -> tuple[Value, Value]:
        """Two values of one dtype; texts beside numbers are read as numbers."""
        if first.dtype == second.dtype:
            return first, second
        return self.number(first), self.number(second)


@stage("SQLTransformer")
def sql_transformer(pipeline: Pipeline, saved: SavedStage) -> None:
    """The columns that a SELECT over one row computes."""
    reader = _Reader(pipeline.frame, str(saved.param("statement")))
    for name, column in reader.statement().items():
        pipeline.frame.put(name, column)
