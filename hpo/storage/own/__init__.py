"""hpo's own tables beside Optuna's in the same database, one module a group of rows.

Each holds its typed rows and functions `(connection, study, ..., now)` that give frozen dataclasses; no row leaves this
folder, no clock is read in it. `study` is always the id in `hpo_studies`, which is never given away again;
`speeds` alone is of no study.
"""
