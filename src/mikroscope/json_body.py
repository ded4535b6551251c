"""The base of every JSON body: camelCase names, and the types of counts and times."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[str, msgspec.Meta(description="ISO 8601 in UTC.")]


class JsonBody(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A JSON object of the API; its fields are snake_case in Python and camelCase in JSON."""
