"""More processes on one run: helpers on this machine (`workers`), actors on a Ray cluster (`cluster`), and the run with them (`run`)."""
