"""Started by the library process of a Python context: `python3 FOLDER [PROGRAMS]`, where this file is in FOLDER
beside the package, and PROGRAMS is the folder of what the environment brings to run."""

from gleaner.worker.library import main

main()
