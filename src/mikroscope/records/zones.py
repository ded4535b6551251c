"""Time zones as logs name them: offsets, abbreviations, and names of the IANA database.

The zone of times that name none is a setting of the process (`set_default_zone`).
"""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

_OFFSET = re.compile(r"(?:UTC|GMT|UT)? ?([+-])(\d{1,2})(?::?(\d\d))?(?::?(\d\d))?", re.ASCII)
_IANA_NAME = re.compile(r"[A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+", re.ASCII)

# Minutes east of Greenwich. The American ones are those of RFC 5322, 4.3; of the others only those
# are here that have one meaning in today's IANA database (IST, say, has three).
_MINUTES_OF = {
    "Z": 0,
    "UTC": 0,
    "GMT": 0,
    "UT": 0,
    "UCT": 0,
    "ZULU": 0,
    "EST": -300,
    "EDT": -240,
    "CST": -360,
    "CDT": -300,
    "MST": -420,
    "MDT": -360,
    "PST": -480,
    "PDT": -420,
    "AKST": -540,
    "AKDT": -480,
    "HST": -600,
    "NST": -210,
    "NDT": -150,
    "AST": -240,
    "ADT": -180,
    "WET": 0,
    "WEST": 60,
    "BST": 60,
    "CET": 60,
    "CEST": 120,
    "MET": 60,
    "MEST": 120,
    "EET": 120,
    "EEST": 180,
    "MSK": 180,
    "SAST": 120,
    "CAT": 120,
    "WAT": 60,
    "EAT": 180,
    "PKT": 300,
    "WIB": 420,
    "WITA": 480,
    "WIT": 540,
    "HKT": 480,
    "JST": 540,
    "KST": 540,
    "AWST": 480,
    "ACST": 570,
    "ACDT": 630,
    "AEST": 600,
    "AEDT": 660,
    "NZST": 720,
    "NZDT": 780,
    "CHST": 600,
}

_default: tzinfo = UTC
_default_name = "UTC"


def set_default_zone(name: str) -> None:
    """Set the zone of times that name none: an offset or an IANA name. Raises ValueError.

    It holds for this process, and for all that it reads from then on.
    """
    global _default, _default_name
    found = zone_named(name)
    if found is None:
        raise ValueError(f"{name} is not a known time zone")
    _default, _default_name = found, name


def default_zone() -> tzinfo:
    """Return the zone of times that name none."""
    return _default


def default_zone_name() -> str:
    """Return the name that the default zone was set by."""
    return _default_name


def zone_named(name: str) -> tzinfo | None:
    """Return the zone of an offset, an unambiguous abbreviation or an IANA name; None otherwise."""
    if (offset := _OFFSET.fullmatch(name)) is not None:
        return _zone_at(*offset.groups())
    minutes = _MINUTES_OF.get(name.upper())
    if minutes is not None:
        return timezone(timedelta(minutes=minutes)) if minutes else UTC
    return _iana_zone(name) if _IANA_NAME.fullmatch(name) else None


def in_zone(moment: datetime, name: str) -> datetime | None:
    """Return a moment without a zone in the zone of this name; None if the name means none.

    An abbreviation that the default zone has at that moment means the default zone: CST is China's
    where the logs are read as China's.
    """
    if name.isalpha():
        local = moment.replace(tzinfo=_default)
        if local.tzname() == name.upper():
            return local
    zone = zone_named(name)
    return None if zone is None else moment.replace(tzinfo=zone)


def _zone_at(sign: str, hours: str, minutes: str | None, seconds: str | None) -> tzinfo | None:
    size = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
    is_valid = size < timedelta(hours=24) and int(minutes or 0) < 60 and int(seconds or 0) < 60
    return timezone(-size if sign == "-" else size) if is_valid else None


@lru_cache(maxsize=256)
def _iana_zone(name: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo  # few logs need it

    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None
    except KeyError:
        return None
