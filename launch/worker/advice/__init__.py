"""What to do about a failure: sentences with the exact flags for this case. Pure.

What the section `engine` holds may change on resume; what belongs to a run's identity needs a new one.
"""
