"""``python -m pnpkit VERB``: the same as ``pnpkit VERB``."""

from pnpkit.cli import main

main()
