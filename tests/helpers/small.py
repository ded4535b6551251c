"""The program `mikroscope` with the small constants of tests/helpers/restless.py."""

from mikroscope.cli import main
from tests.helpers.restless import shrink

if __name__ == "__main__":
    shrink()
    main()
