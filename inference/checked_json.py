"""JSON from outside to frozen dataclasses, checked by the annotations of their fields.

Types are strict: no text for a number, no bool for an integer. Unknown fields, NaN and
infinity are refused; so are they in a dataclass that is a field of another.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from inference.errors import ProtocolError

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
MAX_EXPLANATION = 200  # characters; a part of it may be the sender's words
# pydantic can only list all problems: 50 ms for the thousands that fit in a message.
MAX_PROBLEMS = 50
# A count without a bound of its own: what JSON carries exactly.
Count = Annotated[int, Field(ge=0, le=2**53)]

# Our sentences for pydantic's types of problems; those that are not here keep its own.
_SENTENCES = {
    "missing": "{where} is missing",
    "unexpected_keyword_argument": "unknown field '{where}'",
    "dataclass_type": "{where} is not a JSON object",
    "dict_type": "{where} is not a JSON object",
    "list_type": "{where} must be a list",
    "tuple_type": "{where} must be a list",
    "too_long": "{where} must have at most {max_length} items",
    "int_type": "{where} must be a whole number",
    "int_from_float": "{where} must be a whole number",
    "float_type": "{where} must be a number",
    "finite_number": "{where} must be a finite number",
    "string_type": "{where} must be a text",
    "bool_type": "{where} must be true or false",
    "greater_than": "{where} must be above {gt:.16g}",
    "greater_than_equal": "{where} must be at least {ge:.16g}",
    "less_than": "{where} must be below {lt:.16g}",
    "less_than_equal": "{where} must be at most {le:.16g}",
    "value_error": "{where}: {error}",
    "json_invalid": "not JSON",
    "union_tag_invalid": "no known type of message",
    "union_tag_not_found": "no known type of message",
}


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


# PostgreSQL keeps no NUL in a text.
StorableText = Annotated[str, AfterValidator(_without_nul)]


class Decoder(Generic[T]):
    """``kind``: a dataclass, or a union of dataclasses with a discriminator. Their
    ``__pydantic_config__`` has to be STRICT; dataclasses inside inherit it."""

    def __init__(self, kind: Any, error: type[Exception] = ProtocolError) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._error = error

    def decode(self, data: str | bytes) -> T:
        """Raises ``error``, which says which field is wrong, and how."""
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise self._error(_explain(error)[:MAX_EXPLANATION]) from error


def _explain(error: ValidationError) -> str:
    """The first problem in words."""
    if error.error_count() > MAX_PROBLEMS:
        return f"{error.error_count()} fields are unknown, missing or wrong"
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    sentence = _SENTENCES.get(problem["type"])
    if sentence is None:
        return f"{where}: {problem['msg']}".removeprefix(": ")
    if not where:  # the whole text
        sentence = sentence.removeprefix("{where}: ").removeprefix("{where} is ")
    return sentence.format(where=where, **problem.get("ctx", {}))
