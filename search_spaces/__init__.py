"""Curated search spaces. Imports hpo.space and nothing else of hpo."""
