"""The site behind `p2pcdn demo`: a small video library, to see the sharing happen."""
