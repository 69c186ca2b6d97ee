"""Ray Tune: starts slots where resources allow, replaces dead ones, and carries the coordinator's answers to them.

What is searched, recorded and decided belongs to hpo.search; how one trial trains belongs to hpo.training.
"""
