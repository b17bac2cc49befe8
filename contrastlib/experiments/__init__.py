"""The papers' experiments over whole data sets: resumable, on one process or many, ending in tidy rows.

``python -m contrastlib.experiments list`` says which there are. Each experiment is a file with two functions:
``measure`` gives numbers for each image of a batch, ``rows`` turns those of all images into a table. What is common to
all, such as shards, resuming, several processes and provenance, is in ``contrastlib.experiments.runner``.
"""
