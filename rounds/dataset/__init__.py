"""`rounds export`: the labelled data set as a folder that other programs know how to read."""
