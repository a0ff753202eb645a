"""Where the command line starts: as little as can be is loaded before an interruption can end in one line.

Source: ours.
"""

from galley.interruption import ending


def main() -> None:
    """Run the command line."""
    with ending():
        from galley.cli import main as run

        run()


if __name__ == "__main__":
    main()
