"""What `deploy/check` checks, one idea a file. Each check returns what is wrong, a sentence for each."""
