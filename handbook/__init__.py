"""The handbook: what of docs/ is made from the code, and what the site is built with.

`python -m handbook` writes every table of docs/ that the code knows better than a person does.
"""
