"""`python -m stepbus.cli` is the program `stepbus`."""

from stepbus.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
