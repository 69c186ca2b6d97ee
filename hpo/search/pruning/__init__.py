"""Optuna's pruners, decision for decision, answered from indexes of rungs and curves instead of a scan of all trials.

An index follows its study by a feed, so it is right after a restart and after whatever others wrote with nobody having
to tell it; what a decision costs does not grow with the number of trials.
"""
