"""Template settings as bases of pydantic models, made of the table: the keys of files, and what is sent to GNS3."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from gns3_minivm.template_settings.table import Place, Row, rows


@cache
def keys_of(place: Place) -> Any:
    """A base with a field for each setting that can be written at ``place``; None where it is not.

    The class that has it says how strict it is.
    """
    fields: dict[str, Any] = {row.name: (annotation_of(row) | None, _field(row)) for row in rows(place)}
    return create_model(f"{place.title()}Settings", __module__=__name__, **fields)


def sent_fields(place: Place | None = None) -> Any:
    """A base with what GNS3's APIs take for the settings that fill a field of a template.

    With ``place`` only those that can be written there.
    """
    fields: dict[str, Any] = {row.gns3: (_sent(row) | None, None) for row in rows(place) if row.field}
    return create_model("SentSettings", __module__=__name__, **fields)


def read_fields() -> Any:
    """A base with what servers say of these settings: they may have values that we do not know."""
    fields: dict[str, Any] = {row.gns3: (row.kind | int | None, None) for row in rows() if row.field}
    return create_model("ReadSettings", __module__=__name__, **fields)


def _sent(row: Row) -> Any:
    minimum = row.minimum if row.gns3_minimum is None else row.gns3_minimum
    return _bounded(row, row.gns3_choices or row.choices, minimum)


def annotation_of(row: Row) -> Any:
    """The type of a setting's value in a file, with its bounds and its check."""
    found = _bounded(row, row.choices, row.minimum)
    return Annotated[found, AfterValidator(row.check)] if row.check else found


def _bounded(row: Row, choices: tuple[str, ...], minimum: int | None) -> Any:
    if choices:
        return Literal[choices]
    if row.kind is int:
        return Annotated[int, Field(ge=minimum, le=row.maximum)]
    return Annotated[str, Field(min_length=1)] if row.kind is str and row.default != "" else row.kind


def _field(row: Row) -> Any:
    return Field(default=None, description=f"{row.help} [{row.unit}]" if row.unit == "MB" else row.help)
