"""JSON to frozen dataclasses, checked by the annotations of their fields.

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


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


# PostgreSQL keeps no NUL in a text.
StorableText = Annotated[str, AfterValidator(_without_nul)]


class Decoder(Generic[T]):
    """``kind``: a dataclass, or a union of dataclasses with a discriminator. Their
    ``__pydantic_config__`` has to be STRICT; dataclasses inside inherit it."""

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def decode(self, data: str | bytes) -> T:
        """Raises ProtocolError, which says which field is wrong, and how."""
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise ProtocolError(_explain(error)[:MAX_EXPLANATION]) from error


def _explain(error: ValidationError) -> str:
    """The first problem in words."""
    if error.error_count() > MAX_PROBLEMS:
        return f"{error.error_count()} fields are unknown, missing or wrong"
    problem = error.errors(
        include_url=False, include_context=False, include_input=False
    )[0]
    where = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return "not JSON"
        case "missing":
            return f"{where} is missing"
        case "unexpected_keyword_argument":
            return f"unknown field {where!r}"
        case "dataclass_type" | "dict_type":
            return f"{where} is not a JSON object".removeprefix(" is ")
        case "union_tag_invalid" | "union_tag_not_found":
            return "no known type of message"
    return f"{where}: {problem['msg']}".removeprefix(": ")
