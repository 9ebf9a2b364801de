"""Errors that only a server has. They carry the facts, so that each protocol can word them its own way."""

from __future__ import annotations

from collections.abc import Sequence

from recserve.errors import NotFoundError, RequestError


class BodyTooLargeError(RequestError):
    """The request body is longer than the server accepts."""

    default_code = "body_too_large"


class BodyTimeoutError(RequestError):
    """The request body did not arrive in time."""

    default_code = "body_timeout"


class MethodNotAllowedError(RequestError):
    """The route exists, but not for this HTTP method.

    Attributes:
        allowed: the methods that the route has, as the `Allow` header gives them.
    """

    default_code = "method_not_allowed"

    def __init__(self, problem: str, *, allowed: str, where: str | None = None) -> None:
        super().__init__(problem, where=where, hint=f"Use {allowed}.")
        self.allowed = allowed


class ModelNotFoundError(NotFoundError):
    """No such model is served, or no such version of it.

    Attributes:
        model: the name that was asked for.
        version: the version that was asked for; None for the highest.
    """

    default_code = "model_not_found"

    def __init__(self, problem: str, *, model: str, version: int | None, hint: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.model, self.version = model, version


class LabelNotFoundError(NotFoundError):
    """The model is served, but none of its versions has this label.

    Attributes:
        model, label: what was asked for.
    """

    default_code = "label_not_found"

    def __init__(self, problem: str, *, model: str, label: str, hint: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.model, self.label = model, label


class UnsupportedError(RequestError):
    """The request is well formed, and asks for what the server does not do."""

    default_code = "unsupported"


class WrongKindError(RequestError):
    """The model cannot be asked in this way: it ranks and takes no tensors, or the other way round."""

    default_code = "wrong_kind"


class SignatureNotFoundError(RequestError):
    """The model has no such signature.

    Attributes:
        signature: the name that was asked for.
        known: the names that it has.
    """

    default_code = "signature_not_found"

    def __init__(self, problem: str, *, signature: str, known: Sequence[str], hint: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.signature, self.known = signature, tuple(known)


class InputNamesError(RequestError):
    """The inputs of a call are not those of the signature.

    Attributes:
        sent: names of the call, sorted.
        expected: names of the signature, sorted.
        missing: required names that the call lacks, sorted.
        extra: names that the signature lacks, sorted.
    """

    default_code = "wrong_inputs"

    def __init__(self, *, sent: Sequence[str], expected: Sequence[str], missing: Sequence[str]) -> None:
        self.sent, self.expected, self.missing = tuple(sorted(sent)), tuple(sorted(expected)), tuple(sorted(missing))
        self.extra = tuple(sorted(set(sent) - set(expected)))
        parts = [f"lack {', '.join(map(repr, self.missing))}"] if self.missing else []
        parts += [f"have the unknown {', '.join(map(repr, self.extra))}"] if self.extra else []
        names = ", ".join(map(repr, self.expected)) or "none"
        super().__init__(f"the inputs {' and '.join(parts)}", hint=f"The signature takes {names}.")


class InputTypeError(RequestError):
    """An input has another dtype than the signature says.

    Attributes:
        input: its name.
        expected: name of a dtype, as `recserve.signatures.DTYPES` has it.
        got: the same; NumPy's own name for a dtype that is not there.
    """

    default_code = "wrong_dtype"

    def __init__(self, *, name: str, expected: str, got: str) -> None:
        super().__init__(f"input {name!r} is {got}, not {expected}", hint="Send the dtype that the metadata tells.")
        self.input, self.expected, self.got = name, expected, got


class OutputNamesError(RequestError):
    """A call asks for an output that the signature lacks, or for one twice.

    Attributes:
        output: the name.
        known: the outputs of the signature.
        is_repeated: whether the output exists and is asked for twice.
    """

    default_code = "wrong_outputs"

    def __init__(self, *, output: str, known: Sequence[str], is_repeated: bool = False) -> None:
        problem = f"output {output!r} is asked for twice" if is_repeated else f"there is no output {output!r}"
        super().__init__(problem, hint=f"The signature gives {', '.join(map(repr, known))}.")
        self.output, self.known, self.is_repeated = output, tuple(known), is_repeated


class UnauthenticatedError(RequestError):
    """The caller shows no token where one is needed, or none that the server knows."""

    default_code = "unauthenticated"


class ForbiddenError(RequestError):
    """The caller's token is known, and does not allow this."""

    default_code = "forbidden"
