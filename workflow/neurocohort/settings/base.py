"""The base of all models of the configuration, and the types of values that several of them have."""

import json
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from neurocohort.errors import InputError

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$(?!\n)"

StructureName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$(?!\n)", max_length=60)]

T = TypeVar("T")


class Group(BaseModel):
    """A group of keys. Unknown keys are refused, and no value is converted, except whole numbers to decimals.

    The ``description`` of a field is the text of its row in config/README.md; messages quote its first sentence. Its ``title``
    describes the expected values, if their type and range don't. A key whose default is None is absent unless it is given.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, regex_engine="python-re")

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value is None:
            raise PydanticCustomError("empty", "is empty")
        return value

    @classmethod
    def read(cls, values: dict[str, Any] | str) -> Self:
        """Read the keys from a dict or a JSON text. Raises InputError for keys or values that the model doesn't have."""
        try:
            return cls.model_validate_json(values) if isinstance(values, str) else cls.model_validate(values)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            raise InputError(f"{cls.__name__} can't be read: {'; '.join(faults)}.") from error

    @classmethod
    def taken_from(cls, *groups: dict[str, Any], **own: Any) -> Self:
        """Make the model from those keys of other groups that it has; later groups and ``own`` win. None stands for no value."""
        given = {key: value for group in (*groups, own) for key, value in group.items()}
        return cls(**{key: value for key, value in given.items() if key in cls.model_fields and value is not None})

    def as_dict(self) -> dict[str, Any]:
        """The keys with their values in plain built-ins, without absent keys."""
        return self.model_dump(exclude_none=True)

    def as_json(self) -> str:
        """The same as JSON, sorted by key."""
        return json.dumps(self.as_dict(), sort_keys=True)


def _unique(values: list[T]) -> list[T]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise PydanticCustomError("unique", "has a value twice")
    return values


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Seed = Annotated[int, Field(ge=0, le=4294967295)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Address = Annotated[
    str,
    Field(title="an address (http, https or file) or a folder", pattern=r"^((https?|file)://[^\s]+|(?!.*://).*)$"),
]
Path = Annotated[str, Field(title="a path", min_length=1)]
CohortName = Annotated[str, Field(title="a cohort's name")]
