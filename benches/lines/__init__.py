"""The records of the corpora, line by line, each module with one kind of them."""
