"""Started by the library process of a Python context: `python3 FOLDER`, where this file is in FOLDER beside the package."""

from gleaner.worker.library import main

main()
