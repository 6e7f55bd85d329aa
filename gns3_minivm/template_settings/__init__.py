"""The settings of a template, in one table from which options, files, documents and templates take theirs.

``table`` holds the rows, ``keys`` makes the keys of files of them.
"""
