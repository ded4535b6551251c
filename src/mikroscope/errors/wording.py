"""Words what users read: counts with their nouns, and the name that they meant by a wrong one."""

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[^a-z0-9]")
_TWO_MISTAKES = 8  # characters of a name in which there may be two mistakes

# What other programs call a thing -> what it is called here, as `_plain` writes it. Of several
# names, the one that the command, the file or the route at hand knows is suggested.
_MEANINGS: dict[str, str] = {
    "since after start starttime begin fromtime starting newerthan": "from",
    "until till before end endtime totime olderthan upto": "to",
    "search grep q query message msg match contains pattern word words phrase fulltext": "text",
    "severity loglevel lvl priority minlevel levels": "level",
    "n lines max count size top head tail pagesize num number first maxresults": "limit",
    "key name fieldname attribute property": "field",
    "equals eq is fieldvalue": "value",
    "by group groupby grouping split": "groupby",
    "groupbyfield byfield": "groupfield",
    "page offset next nextcursor after continue": "cursor",
    "db database dbfile dbpath index indexpath indexfile sqlite data datapath": "db dbpath",
    "dir directory logdir logsdir logdirectory logsdirectory log logs logpath logspath folder "
    "input root watch": "logs logspath",
    "out output o outputdir target dest": "outdir",
    "conf configfile configpath settings cfg": "config",
    "bind listen address addr ip hostname interface": "host",
    "listenport": "port",
    "token apikey bearer bearertoken auth authtoken accesstoken": "apitoken",
    "user username login basicauth authuser": "authusername",
    "pass password passwd authpass": "authpassword",
    "cert certificate tlscert tlscertfile sslcert sslcertfile certfile": "tlscert tlscertpath",
    "privatekey keyfile tlskey tlskeyfile sslkey sslkeyfile": "tlskey tlskeypath",
    "tls ssl secure": "https protocol",
    "cors origin origins alloworigin allowedorigins corsorigin corsorigins": "corsalloworigin",
    "producers producer ingesttoken ingesttokens clients": "ingestproducers",
    "maxbody maxbodysize maxbodybytes bodylimit maxsize maxrequestsize": "ingestmaxbodybytes",
    "interval poll pollinterval scaninterval pollms scanintervalms": "ingestintervalms intervalms",
    "async queue": "ingestasyncqueue",
    "fsync sync durable": "ingestfsync",
    "suffix suffixes extension extensions ext glob include filesuffixes": "logfilesuffixes",
    "timeout querytimeout": "querytimeoutms webhooktimeoutms",
    "maxconcurrency concurrency maxrequests workers": "maxconcurrentrequests",
    "retention retentiondays days keep keepdays maxage ttl": "dbretentiondays logretentiondays",
    "minfree freespace mindisk": "minfreebytes",
    "webhook webhookurl alerturl alertwebhook slack slackwebhook url": "alertwebhookurl webhookurl",
    "threshold errorthreshold errors": "alerterrorthreshold errorthreshold",
    "window": "alertwindowminutes windowminutes",
    "retries attempts retryattempts": "alertwebhookretryattempts webhookretryattempts",
    "cooldown cooldownms": "alertcooldownms cooldownms",
    "backupdir backupdirectory auditbackup": "auditbackupdir auditbackupdirectory",
    "verbose debug accesslog logaccess": "logrequests",
    "jsonlogs logjson format": "logformat",
    "full reset reindex recreate": "rebuild",
    "overwrite replace yes y f": "force",
    "dryrun verify test validate": "check",
}
_BY_NAME: dict[str, list[str]] = {}
for _names, _ours in _MEANINGS.items():
    for _name in _names.split():
        _BY_NAME.setdefault(_name, []).extend(_ours.split())


def in_words(count: int, what: str = "day") -> str:
    """Return "1 day", "30 days" or "2 audit entries"."""
    if count == 1:
        return f"1 {what}"
    plural = f"{what[:-1]}ies" if what.endswith("ry") else f"{what}s"
    return f"{count:,} {plural}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that means the same, or differs by a typing error; else None.

    Case, hyphens and the prefix of our environment variables do not matter: flags, JSON keys,
    variables and query parameters are all looked up here.
    """
    by_plain = {_plain(one): one for one in known}
    plain = _plain(name)
    # A field of the alert policy is the option without "alert".
    for ours in (plain, *_BY_NAME.get(plain, ()), plain.removeprefix("alert"), f"alert{plain}"):
        if ours in by_plain:
            return by_plain[ours]
    allowed = 2 if len(plain) >= _TWO_MISTAKES else 1
    found = sorted((_distance(plain, one), one) for one in by_plain)
    close = [one for distance, one in found if distance <= allowed and len(one) > allowed + 1]
    return by_plain[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `. Did you mean 'x'?` to end an error with; empty if nothing is meant."""
    found = nearest(name, known)
    return "" if found is None else f". Did you mean '{found}'?"


def _plain(name: str) -> str:
    return _PLAIN.sub("", name.lower()).removeprefix("mikroscope")


def _distance(one: str, other: str) -> int:
    """Return how many characters to add, drop, replace or swap with the next one."""
    if abs(len(one) - len(other)) > 2:
        return 3  # more than is ever allowed
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, match in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (char != match))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == match:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
