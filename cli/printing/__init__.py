"""Results as lines and tables for people; programs read the files."""
