"""Conformance suites and fakes that ship: subclass a suite, give it the entry, and a plugin meets what ours meet.

Imported by tests and plugin authors, by no room of hpo; needs pytest.
"""
