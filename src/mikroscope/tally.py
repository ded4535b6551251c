"""What indexing has done so far, in numbers."""

import msgspec


class Tally(msgspec.Struct, rename="camel"):
    """What was done so far."""

    files_scanned: int = 0
    lines_scanned: int = 0
    records_inserted: int = 0
    records_skipped: int = 0
    parse_errors: int = 0

    def since(self, earlier: "Tally") -> "Tally":
        """What came on top of an earlier tally."""
        return Tally(
            *(now - then for now, then in zip(_counts(self), _counts(earlier), strict=True))
        )

    def add(self, other: "Tally") -> None:
        """Count what somebody else has done."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def copy(self) -> "Tally":
        """The tally as it is now."""
        return Tally(*_counts(self))


def _counts(tally: Tally) -> tuple[int, ...]:
    return msgspec.structs.astuple(tally)
