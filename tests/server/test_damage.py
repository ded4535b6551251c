"""Over HTTP a damaged index answers with what can be read, and says what is missing."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from tests.helpers.server import Connect, Serve
from tests.helpers.waiting import wait_until

ENTRIES = 3_000  # enough for a segment
BLOCK = 64  # lines, at most


@pytest.fixture
def client(tmp_path: Path, serve: Serve, connect: Connect) -> httpx.Client:
    """A client of a server with an index in which one block of lines is damaged."""
    logs = tmp_path / "logs"
    logs.mkdir(exist_ok=True)
    records = [
        {"time": 1_770_000_000_000 + n, "n": n, "message": f"order {n} paid", "kind": f"k{n % 3}"}
        for n in range(ENTRIES)
    ]
    (logs / "app.ndjson").write_text("".join(json.dumps(one) + "\n" for one in records))
    server = serve()
    client = connect(server)
    wait_until(lambda: counted(client, "kind") == ENTRIES)
    damage(server._sidecar.settings.db_path)
    return client


def counted(client: httpx.Client, field: str) -> int:
    """Return the number of entries that have a field."""
    answer = client.get("/api/logs/aggregate", params={"groupBy": "field", "groupField": field})
    return sum(bucket["count"] for bucket in answer.json()["buckets"])


def damage(path: Path) -> None:
    """Change a byte in the third block from the end."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(10_000)
        rows: Any = connection.execute(
            "SELECT id, data FROM blocks ORDER BY id DESC LIMIT 1 OFFSET 2"
        ).fetchall()
        [(row, content)] = rows
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        connection.execute("UPDATE blocks SET data = ? WHERE id = ?", (bytes(changed), row))


def test_pages_have_all_but_the_block(client: httpx.Client) -> None:
    """Pages have status 200, every entry outside of the block, and a note about the rest."""
    numbers, notes = set(), []
    parameters = {"limit": "500"}
    while True:
        answer = client.get("/api/logs", params=parameters)
        assert answer.status_code == 200
        page = answer.json()
        numbers |= {entry["data"]["n"] for entry in page["entries"]}
        notes += page.get("notes", [])
        assert page.get("complete", True) == (not page.get("notes"))
        if "nextCursor" not in page:
            break
        parameters["cursor"] = page["nextCursor"]
    lost = set(range(ENTRIES)) - numbers
    assert 0 < len(lost) <= BLOCK
    assert max(lost) - min(lost) == len(lost) - 1
    assert len(notes) == 1
    assert f"up to {len(lost)} entries" in notes[0]


def test_groups_say_what_is_missing(client: httpx.Client) -> None:
    """Groups that read lines say so; those that do not need them are complete."""
    assert counted(client, "kind") == ENTRIES
    events = client.get("/api/logs/aggregate", params={"groupBy": "event", "limit": "10"})
    assert events.status_code == 200
    assert events.json()["complete"] is False
    assert "the index is damaged" in events.json()["notes"][0]


def test_health_names_the_damage(client: httpx.Client) -> None:
    """After an answer that missed something, the server says that the index is damaged."""
    before = client.get("/health").json()
    client.get("/api/logs", params={"limit": "500"})
    after = client.get("/health").json()
    assert (before["ok"], after["ok"]) == (True, False)
    assert "damaged" in after["problems"][0]
