"""What TensorFlow's libraries write about the machine while they are loaded, kept off the terminal."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# A line of absl's log or of TensorFlow's own; TF_CPP_MIN_LOG_LEVEL says nothing to what comes before absl is set up.
NOTE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\] "
    rb"|fully_quantize: |INFO: Created TensorFlow Lite "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
)


@contextmanager
def without_notes() -> Iterator[None]:
    """Holds back what is written to the process's standard error, and then writes all of it but the notes.

    Where the block raises, the notes are written too: they may say why.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        error = os.dup(2)
    except OSError:  # There is none.
        yield
        return
    with tempfile.TemporaryFile() as aside:
        keep = True
        sys.stderr.flush()
        os.dup2(aside.fileno(), 2)
        try:
            yield
            keep = False
        finally:
            sys.stderr.flush()
            os.dup2(error, 2)
            os.close(error)
            aside.seek(0)
            for line in aside:
                if keep or not NOTE.match(line):
                    os.write(2, line)
