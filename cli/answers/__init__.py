"""Tables, sentences and progress of the commands that answer from many runs."""
