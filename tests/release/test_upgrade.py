"""The installer run again: upgrades, repairs and rollbacks."""

import re
from pathlib import Path

import pytest

from tests.helpers.installer import Site, User, write_release
from tests.helpers.release import Release


def test_upgrade(user: User) -> None:
    """An upgrade installs the new version and keeps config, logs, index and the old version."""
    user.installs(MIKROSCOPE_PORT="4999")
    config = user.config.read_text()
    (user.directory / "data").mkdir()
    (user.directory / "data" / "mikroscope.db").write_text("index")
    user.publish("0.2.0")
    user.installs(MIKROSCOPE_PORT="5000")
    assert user.version == "0.2.0"
    assert user.versions == ["0.1.0", "0.2.0"]
    assert user.config.read_text() == config
    assert (user.directory / "data" / "mikroscope.db").read_text() == "index"


def test_old_versions_leave(user: User) -> None:
    """The installer keeps one version before the current one and removes older ones."""
    for version in ("0.1.0", "0.2.0", "0.3.0"):
        user.publish(version)
        user.installs()
    assert user.versions == ["0.2.0", "0.3.0"]


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("broken", "mikroscope: it is broken"), ("sick", "HTTP Error 500")]
)
def test_roll_back(user: User, behaviour: str, reason: str) -> None:
    """A new version that does not start, or whose /health fails, is removed again."""
    user.installs()
    before = user.left()
    user.publish("0.2.0", behaviour)
    assert reason in user.is_refused()
    assert user.version == "0.1.0"
    assert user.left() == before


def test_roll_back_names_what_stays(user: User) -> None:
    """The error after a rollback names the version that stays in use."""
    user.installs()
    user.publish("0.2.0", "broken")
    assert re.search(r"0\.1\.0-[0-9a-f]{12} stays$", user.is_refused().strip())


def test_real_version_refuses_the_config(release: Release, tmp_path: Path) -> None:
    """A version that refuses the existing config is not installed."""
    site = Site(release.directory)
    user = User(tmp_path / "home", site, release.tag)
    try:
        user.directory.mkdir(parents=True)
        user.config.write_text('{"prot": 1}')
        line = user.is_refused()
    finally:
        site.close()
    assert "Did you mean 'port'?" in line
    assert not (user.directory / "current").exists()


def test_again(user: User) -> None:
    """Installing the same version again changes nothing."""
    user.installs()
    before = user.left()
    user.installs()
    assert user.left() == before


def test_mends(user: User) -> None:
    """A second run restores a deleted command."""
    user.installs()
    user.command.unlink()
    user.installs()
    assert user.version == "0.1.0"


def test_mends_a_version(user: User) -> None:
    """A second run replaces a version whose files were damaged with a new copy."""
    user.installs()
    (user.directory / "current" / "lib" / "mikroscope" / "errors.py").write_text("")
    (user.directory / "current" / "mikroscope").write_text("")
    user.installs()
    assert user.version == "0.1.0"


def test_another_directory_for_the_command(user: User) -> None:
    """A second run with another directory for the command removes the command from the first."""
    user.installs()
    user.installs(MIKROSCOPE_BIN_DIR=str(user.home / "bin"))
    assert not user.command.exists()
    user.installs("--uninstall")
    assert not (user.home / "bin" / "mikroscope").exists()


def test_more_than_one_version(user: User) -> None:
    """If an address has several versions, the installer requires a version and installs it."""
    write_release(user.site.directory, user.tag, "0.2.0")
    assert "MIKROSCOPE_INSTALL_VERSION" in user.is_refused()
    user.installs(MIKROSCOPE_INSTALL_VERSION="0.1.0")
    assert user.version == "0.1.0"
