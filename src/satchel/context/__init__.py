"""The questions an agent asks of context, one shape of answer, and the reader that answers from local folders."""
