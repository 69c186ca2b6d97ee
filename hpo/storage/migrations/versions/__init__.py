"""One file a revision of the own tables; a file that was released never changes.

They import nothing of hpo: a revision makes the tables as they were then. A new one goes with the change of a typed row
in `hpo/storage/own/`; `migrations.check` of an upgraded database tells whether the two say the same.
"""
