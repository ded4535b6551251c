"""`python -m mikroscope` is the command `mikroscope`."""

from mikroscope.cli import main

main()
