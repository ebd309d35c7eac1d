"""`python -m loadtests`."""

from loadtests.slo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
