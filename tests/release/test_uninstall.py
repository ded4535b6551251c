"""The installer removes exactly the files that it installed."""

import json
from pathlib import Path

from tests.helpers.installer import User
from tests.helpers.release import output


def test_uninstall(user: User) -> None:
    """Uninstalling removes the program and the command, and keeps config, logs and index."""
    user.installs()
    for name in ("logs/app.ndjson", "data/mikroscope.db"):
        (user.directory / name).parent.mkdir()
        (user.directory / name).write_text(name)
    user.installs("--uninstall")
    share = ".local/share/mikroscope"
    kept = ("mikroscope.config.json", "logs/app.ndjson", "data/mikroscope.db")
    assert user.left() == {f"{share}/{name}" for name in kept}


def test_purge(user: User) -> None:
    """--purge also removes config, logs and index if they are in the directory."""
    user.installs(MIKROSCOPE_LOGS_PATH="elsewhere")
    (user.home / "elsewhere").mkdir()
    (user.home / "elsewhere" / "app.ndjson").write_text("{}")
    user.installs("--uninstall", "--purge")
    assert user.left() == {"elsewhere/app.ndjson"}
    assert not user.directory.exists()


def test_purge_of_what_the_config_names(user: User) -> None:
    """--purge keeps directories with the default names if the config names others."""
    user.installs(MIKROSCOPE_LOGS_PATH="elsewhere", MIKROSCOPE_DB_PATH="elsewhere.db")
    for name in ("logs", "data"):
        (user.directory / name).mkdir()
        (user.directory / name / "mine").write_text("mine")
    user.installs("--uninstall", "--purge")
    share = ".local/share/mikroscope"
    assert user.left() == {f"{share}/logs/mine", f"{share}/data/mine"}


def test_two_installations(user: User) -> None:
    """Uninstalling does not remove a command that another installation has created since."""
    user.installs(MIKROSCOPE_INSTALL_DIR=f"{user.home}/other")
    user.installs()
    user.installs("--uninstall", MIKROSCOPE_INSTALL_DIR=f"{user.home}/other")
    assert user.version == "0.1.0"


def test_installed_script_uninstalls(user: User, tmp_path: Path) -> None:
    """The installed script knows both directories without arguments."""
    user.installs(MIKROSCOPE_BIN_DIR=str(tmp_path / "bin"))
    script = user.directory / "current" / "install.sh"
    output(["sh", str(script), "--uninstall"], tmp_path / "other")
    assert not list((tmp_path / "bin").iterdir())
    assert not (user.directory / "versions").exists()


def test_install_after_uninstall(user: User) -> None:
    """A new installation uses the config that the old one left."""
    user.installs(MIKROSCOPE_PORT="4999")
    user.installs("--uninstall")
    user.installs()
    assert json.loads(user.config.read_text())["port"] == 4999


def test_uninstall_of_nothing(user: User) -> None:
    """Without an installation, nothing is removed."""
    (user.directory / "logs").mkdir(parents=True)
    (user.directory / "logs" / "mine").write_text("mine")
    assert "there is no MikroScope in" in user.is_refused("--uninstall", "--purge")
    assert user.left() == {".local/share/mikroscope/logs/mine"}


def test_uninstall_keeps_somebody_elses_command(user: User) -> None:
    """A command of the same name that the installer did not create stays."""
    user.installs()
    user.command.write_text("#!/bin/sh\n")
    user.installs("--uninstall")
    assert user.command.exists()
