"""Several runs side by side: tables with intervals, and the comparison page's payload."""
