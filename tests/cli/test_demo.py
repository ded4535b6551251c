"""`mikroscope mock-data`: its flags and variables."""

from tests.helpers.program import Program


def test_options_of_mock_data(program: Program) -> None:
    """The amount follows flags and environment; the flags win."""
    flags = ("--days", "2", "--logs-per-day=10", "--out-dir", "made")
    variables = {"MOCK_LOG_DAYS": "9", "MOCK_AUDIT_LOGS_PER_DAY": "5"}
    assert program.ask("mock-data", *flags, **variables)["records"] == 30
    assert len(list((program.directory / "made" / "generated").iterdir())) == 2
