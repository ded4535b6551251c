"""Run the command `mikroscope` as `python -m mikroscope`."""

from mikroscope.cli.main import main

main()
