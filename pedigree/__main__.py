"""`python -m pedigree` is `pedigree`."""

import sys

from pedigree.search.commands import main

sys.exit(main())
