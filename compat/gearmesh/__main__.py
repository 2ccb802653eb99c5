"""``python -m gearmesh``: the same as the ``gearmesh`` command."""

from gearmesh.cli import main

if __name__ == "__main__":
    main()
