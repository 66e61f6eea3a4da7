"""First thing in the frozen program: what it opens, as a browser, gets the libraries of the system, not ours.

PyInstaller's start sets LD_LIBRARY_PATH and keeps the person's own in LD_LIBRARY_PATH_ORIG; our children set it anew.
"""

import os

os.environ.pop("LD_LIBRARY_PATH", None)
if "LD_LIBRARY_PATH_ORIG" in os.environ:
    os.environ["LD_LIBRARY_PATH"] = os.environ.pop("LD_LIBRARY_PATH_ORIG")
