"""The machine's half of the loop: a module for each DVC stage, run as `python -m stages.<name>`.

The scripts lie here, what they call lies in rooms (docs/architecture.md). Nothing imports a script,
nothing here imports dvc or `rounds`, and click appears only in contract/shell.py and in each
script's `main`.
"""

import os
from pathlib import Path

# The order in which threads add up floats changes the last digit, and a digit can change a batch.
# One thread per process makes results the same on every number of cores. It must be said before
# numpy is imported.
for _pool in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
):
    os.environ[_pool] = "1"

# OpenBLAS chooses its kernels by the processor, and they differ in the last digit too: AVX2 ones on
# all that have them.
_cpu = Path("/proc/cpuinfo")
if _cpu.is_file() and " avx2 " in _cpu.read_text(errors="replace"):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
