"""Plotly figures of a study and the self-contained HTML page made of them.

Reads a plain `optuna.Study` and nothing else; no writing to the study, no Ray, no SQL lives here.
"""
