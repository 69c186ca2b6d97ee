"""Curated search spaces: for every range a source and a recommended value. Imports hpo.space and nothing else of hpo.

One module a subject, whose space is its `SPACE`; `mlp`, `cnn`, `transformer` and `tabular` are made of them by `+`.
"""
