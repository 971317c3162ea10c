"""report.html: a finished search to look at, to check and to play against."""
