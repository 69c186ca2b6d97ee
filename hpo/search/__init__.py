"""The search: the coordinator that owns the live Optuna study, the transition table, samplers, pruners and seeds.

It knows nothing of Ray or torch, takes plain data in and hands plain data out; where trials run is not its business.
"""
