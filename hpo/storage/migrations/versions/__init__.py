"""One file a revision of the own tables; a file that was released never changes.

They import nothing of hpo: a revision makes the tables as they were then.
"""
