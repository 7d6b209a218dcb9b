/* broker/task_tbl.h - the life of a task:  state (enum link_task_state), where it may go from there. Going to the same
 * state again is news too: of its progress. */
#define TO_ANY                                                                                                         \
	(TO(WORKING) | TO(INPUT_REQUIRED) | TO(COMPLETED) | TO(FAILED) | TO(CANCELLED))
TASK(WORKING, TO_ANY)
TASK(INPUT_REQUIRED, TO_ANY)
TASK(COMPLETED, 0) /* these three are for ever */
TASK(FAILED, 0)
TASK(CANCELLED, 0)
#undef TO_ANY
