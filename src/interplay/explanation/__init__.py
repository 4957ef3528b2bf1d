"""One prompt explained: under one model (`Explanation`), or under two and what changed between them (`Change`)."""
