"""What this project does better than its peers, and where not: each measured against them in the
same run.
"""
