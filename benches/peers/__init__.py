"""The peers that are put beside MikroScope: a further one is an adapter, and a line here."""

from benches.peers.base import Peer
from benches.peers.duck import Duck
from benches.peers.grep_jq import GrepAndJq
from benches.peers.ours import MikroScope
from benches.peers.sqlite_utils import SqliteUtils

PEERS: dict[str, type[Peer]] = {
    "MikroScope": MikroScope,
    "sqlite-utils": SqliteUtils,
    "DuckDB": Duck,
    "grep and jq": GrepAndJq,
}
