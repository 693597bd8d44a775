"""The steps of a run, each on the files that the step before it left."""
