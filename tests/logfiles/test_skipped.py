"""Files that are not indexed are named with the reason, and with what would include them."""

from pathlib import Path

import pytest

from mikroscope import resolve_settings
from mikroscope.logfiles.skipped import Skipped, skipped_files

SUFFIXES = (".ndjson", ".ndjson.gz", ".jsonl", ".log")


def skipped(root: Path, **files: str) -> Skipped | None:
    """Write files and describe what is skipped; `__` in a name is a slash, `_` a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return skipped_files(root, SUFFIXES)


def test_nothing_is_skipped(tmp_path: Path) -> None:
    """Files that are read, hidden ones and empty ones are not named."""
    assert skipped(tmp_path, app_ndjson="{}\n", _hidden="x", empty_log="") is None


@pytest.mark.parametrize(
    ("name", "kind", "fix"),
    [
        ("java__app_log", "plain text", "the first line of a .log file must be a JSON object"),
        ("app_log_3", "plain text", "the first line of a .log file must be a JSON object"),
        ("notes_txt", ".txt", "set --log-file-suffixes .ndjson,.ndjson.gz,.jsonl,.log,.txt;"),
        ("app_out_1", ".out", "set --log-file-suffixes .ndjson,.ndjson.gz,.jsonl,.log,.out;"),
        ("app_txt_gz", ".txt.gz", ",.log,.txt.gz;"),
        ("core", "no suffix", "rename files without a suffix"),
    ],
)
def test_reasons(tmp_path: Path, name: str, kind: str, fix: str) -> None:
    """The reason is the content of a .log file, else the end of the name."""
    found = skipped(tmp_path, **{name: "text\n"})
    assert found is not None
    path = name.replace("__", "/").replace("_", ".")
    assert found.text == f"1 file is not indexed: {path} ({kind})"
    assert fix in found.fix
    assert found.fix.endswith("or move it out of the logs directory")


def test_own_files_are_not_named(tmp_path: Path) -> None:
    """An index, its alert policy and a config file within the logs directory are no one's logs."""
    settings = resolve_settings(
        env={}, overrides={"logs_path": tmp_path, "db_path": tmp_path / "data" / "x.db"}
    )
    ours = ("x.db", "x.db-wal", "x.db.lock", "x.db.damaged-1", "mikroscope.alert-config.json")
    for name in (*ours, "mikroscope.alert-config.state.json", "y.db"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("x")
    (tmp_path / "x.db").write_text("x")
    link = tmp_path.with_name("link")
    link.symlink_to(tmp_path)
    for root in (tmp_path, link):
        found = skipped_files(root, SUFFIXES, settings.own_files)
        assert found is not None
        assert found.text == "2 files are not indexed: data/y.db (.db), x.db (.db)"


def test_many(tmp_path: Path) -> None:
    """Three files are named, the others counted; the fix covers all of them."""
    names = {"a_log": "x", "b_txt": "x", "c_csv": "x", "d_txt": "x", "e": "x"}
    found = skipped(tmp_path, **names)
    assert found is not None
    assert found.text == (
        "5 files are not indexed: a.log (plain text), b.txt (.txt), c.csv (.csv) and 2 more"
    )
    assert all(part in found.fix for part in (".csv,.txt", "JSON object", "without a suffix"))
