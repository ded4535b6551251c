"""The programs compared with MikroScope; to add one, write an adapter and add a line here."""

from benches.peers.base import Peer
from benches.peers.duck import Duck, LoadedDuck
from benches.peers.grep_jq import GrepAndJq
from benches.peers.ours import MikroScope
from benches.peers.sqlite_utils import SqliteUtils

PEERS: dict[str, type[Peer]] = {
    "MikroScope": MikroScope,
    "sqlite-utils": SqliteUtils,
    "DuckDB": Duck,
    "loaded DuckDB": LoadedDuck,
    "grep and jq": GrepAndJq,
}
