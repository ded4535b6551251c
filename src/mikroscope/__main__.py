"""`python -m mikroscope` is the command `mikroscope`."""

from mikroscope.cli.main import main

main()
