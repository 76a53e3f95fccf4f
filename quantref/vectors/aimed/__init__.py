"""Cases aimed at one thing each: ties of one stage, an end of a range, a corner of the padding."""
