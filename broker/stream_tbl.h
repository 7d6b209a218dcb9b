/* broker/stream_tbl.h - the life of a stream:  state, where it may go from there. */
STREAM(OPEN, TO(LIVE) | TO(FINISHED) | TO(CLOSED))  /* in the log; nobody is connected */
STREAM(LIVE, TO(OPEN) | TO(FINISHED) | TO(CLOSED))  /* a connection reads it */
STREAM(FINISHED, TO(CLOSED))			    /* its last event is in the log, perhaps undelivered */
STREAM(CLOSED, 0)				    /* out of the table; its memory goes at the end of the turn */
