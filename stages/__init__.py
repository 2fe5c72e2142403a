"""The machine's half of the loop: one public module per DVC stage, run as `python -m stages.<name>`.

Import rule: third party <- private modules (`_name`) and `strategies` <- stages. A stage never imports a
stage, nothing here imports dvc or `rounds`, and click appears only in `_shell` and in each stage's `main`.
"""

import os

# The order in which threads add up floats changes the last digit, and a digit can change a batch. One thread
# per process makes results the same on every number of cores. It must be said before numpy is imported.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_pool] = "1"
