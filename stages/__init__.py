"""The machine's half of the loop: one public module per DVC stage, run as `python -m stages.<name>`.

Import rule: third party <- private modules (`_name`) and `strategies` <- stages. A stage never imports a
stage, nothing here imports dvc or `rounds`, and click appears only in `_shell` and in each stage's `main`.
"""
