#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "broker/store_joint.h"
#include "broker/store_writer.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/banned.h"

#define RETRY_MS  500   /* after a transaction that failed */
#define RENEW_MS  60000 /* between two new files, or a disk that ruins each would be filled with them */
#define REMIND_MS 60000 /* between two lines of the log about the same trouble */

struct writer {
	struct disk *disk;                /* borrowed; the thread's, as all that follows */
	const struct disk_loaded *loaded; /* borrowed */
	uint64_t sync_ms;
	struct batch *todo, **last_todo;
	uint64_t retry_at_ms; /* 0: nothing failed */
	uint64_t said_at_ms;  /* when the log was told last */
	uint64_t sync_at_ms;  /* 0: all is on the disk */
	uint64_t renewed_at_ms;
	bool must_renew, is_waiting;              /* for a batch that has_all */
	char why[sizeof(((struct err *)0)->msg)]; /* it must */
	void (*wake)(void *arg);
	void *wake_arg;
	pthread_t thread;
	pthread_mutex_t mtx;
	pthread_cond_t cond;
	struct batch *inbox, **last_in, *outbox, **last_out; /* by mtx, as all that follows */
	struct store_op *asked, *read;                       /* reads: to the thread, from it */
	bool is_stopping, is_failing, is_renewed;
	struct disk_copied copied;
};

static int write_change(struct disk *d, const struct batch *b, const struct change *c, struct err *err)
{
	const struct record *r;

	switch ((enum change_type)c->type) {
	case CHANGE_APPEND:
		r = c->record;
		if (r->row)
			return disk_append(
			    d, r->position, r->stream, joint_seq(r->row, r->len), buf_slice(r->row), err);
		return disk_append(d, r->position, r->stream, r->seq, (struct slice){r->bytes, r->len}, err);
	case CHANGE_FORGET:
		return disk_forget(d, c->position, err);
	case CHANGE_PUT:
		return disk_put(d, (enum store_kind)c->kind, batch_key(b, c), batch_value(b, c), err);
	case CHANGE_DEL:
		return disk_del(d, (enum store_kind)c->kind, batch_key(b, c), err);
	}
	return 0;
}

/* All batches in one transaction. */
static int write_batches(struct disk *d, const struct batch *first, struct err *err)
{
	int rc = disk_begin(d, err);

	for (const struct batch *b = first; b && !rc; b = b->next) {
		for (size_t i = 0; i < b->count && !rc; i++)
			rc = write_change(d, b, &b->changes[i], err);
	}
	if (!rc)
		rc = disk_commit(d, err);
	if (rc)
		disk_undo(d);
	return rc;
}

/* An event in a record of its own, for one read. */
static enum disk_found read_loose(struct disk *d, uint64_t position, struct record **record, struct err *err)
{
	struct slice event;
	enum disk_found found = disk_read(d, position, &event, err);
	struct record *r;

	if (found != DISK_FOUND)
		return found;
	r = mem_alloc(1, sizeof(*r) + event.len);
	if (!r) {
		err_set(err, ERR_NOMEM, "event of %zu bytes", event.len);
		return DISK_NOT_NOW;
	}
	r->is_loose = true;
	r->is_forgotten = true;
	r->pins = 1;
	r->len = (uint32_t)event.len;
	if (event.len)
		memcpy(r->bytes, event.p, event.len);
	*record = r;
	return DISK_FOUND;
}

static enum disk_found fetch(struct disk *d, struct store_read *read, struct err *err)
{
	for (read->good = 0; read->good < read->count; read->good++) {
		struct record *r = read->lent[read->good];
		enum disk_found found;

		if (r)
			continue;
		found = read_loose(d, read->positions[read->good], &r, err);
		disk_read_end(d);
		if (found != DISK_FOUND)
			return found;
		read->lent[read->good] = r;
		read->events[read->good] = (struct slice){r->bytes, r->len};
	}
	return DISK_FOUND;
}

static void must_renew(struct writer *w, const struct err *err)
{
	if (!w->must_renew)
		snprintf(w->why, sizeof(w->why), "%s", err->msg);
	w->must_renew = true;
}

static void stall(struct writer *w, const struct err *err, bool is_last)
{
	uint64_t now = now_ms();

	if (!w->retry_at_ms || now - w->said_at_ms >= REMIND_MS || is_last) {
		LOG(ERROR, "store.stalled", "why=\"%s\"%s", err->msg,
		    is_last ? " lost=\"what was not committed\"" : "");
		w->said_at_ms = now;
	}
	w->retry_at_ms = now + RETRY_MS;
	pthread_mutex_lock(&w->mtx);
	w->is_failing = true;
	pthread_mutex_unlock(&w->mtx);
	w->wake(w->wake_arg);
}

/* False: not now. */
static bool renew(struct writer *w)
{
	struct disk_copied copied;
	struct err err = {0};
	uint64_t now = now_ms();

	snprintf(err.msg, sizeof(err.msg), "%s", w->why);
	if ((w->renewed_at_ms && now - w->renewed_at_ms < RENEW_MS) ||
	    disk_renew(w->disk, w->loaded, w->why, &copied, &err)) {
		stall(w, &err, false);
		return false;
	}
	w->renewed_at_ms = now;
	w->must_renew = false;
	w->is_waiting = true;
	w->sync_at_ms = 0;
	pthread_mutex_lock(&w->mtx);
	w->is_renewed = true;
	w->copied = copied;
	pthread_mutex_unlock(&w->mtx);
	w->wake(w->wake_arg);
	return true;
}

static void serve(struct writer *w, struct store_read *read)
{
	static struct log_rate rate;
	struct err err;
	enum disk_found found = fetch(w->disk, read, &err);
	unsigned dropped;

	if (found == DISK_UNREADABLE && disk_is_damaged(w->disk)) {
		must_renew(w, &err);
		if (renew(w))
			found = fetch(w->disk, read, &err);
	}
	/* What a disk that takes writes does not give, it will not give later. */
	read->is_damaged = found == DISK_DAMAGED || (found == DISK_UNREADABLE && !w->retry_at_ms);
	read->op.status = found == DISK_FOUND || read->good > 0 ? 0 : -1;
	if (found != DISK_FOUND && log_rate_ok(&rate, 1, REMIND_MS, &dropped))
		LOG(ERROR, "store.unreadable", "why=\"%s\" not_logged=%u", err.msg, dropped);
}

static void serve_reads(struct writer *w, struct store_op *reads)
{
	struct store_op *next;

	for (struct store_op *op = reads; op; op = next) {
		next = op->next;
		serve(w, (struct store_read *)(void *)op);
		pthread_mutex_lock(&w->mtx);
		op->next = w->read;
		w->read = op;
		pthread_mutex_unlock(&w->mtx);
	}
	if (reads)
		w->wake(w->wake_arg);
}

static void give_back(struct writer *w, int status)
{
	for (struct batch *b = w->todo; b; b = b->next)
		b->status = status;
	pthread_mutex_lock(&w->mtx);
	*w->last_out = w->todo;
	w->last_out = w->last_todo;
	w->is_failing = status != 0;
	pthread_mutex_unlock(&w->mtx);
	w->todo = NULL;
	w->last_todo = &w->todo;
	w->wake(w->wake_arg);
}

static void write_todo(struct writer *w, bool is_last)
{
	struct err err;

	if (write_batches(w->disk, w->todo, &err) == 0) {
		if (w->retry_at_ms)
			LOG(INFO, "store.resumed", "why=\"it can be written again\"");
		w->retry_at_ms = 0;
		if (w->sync_ms && !w->sync_at_ms)
			w->sync_at_ms = now_ms() + w->sync_ms;
		give_back(w, 0);
		return;
	}
	if (disk_is_damaged(w->disk))
		must_renew(w, &err);
	stall(w, &err, is_last);
	if (is_last)
		give_back(w, -1);
}

/* What is not known to be on the disk, after a sync that failed, will never be. */
static void sync_file(struct writer *w)
{
	struct err err;

	w->sync_at_ms = 0;
	if (disk_sync(w->disk, &err))
		must_renew(w, &err);
}

static void write_back(struct writer *w)
{
	static struct log_rate rate;
	struct err err;
	unsigned dropped;

	sync_file(w);
	if (w->must_renew || disk_write_back(w->disk, &err) == 0)
		return;
	if (disk_is_damaged(w->disk))
		must_renew(w, &err);
	else if (log_rate_ok(&rate, 1, REMIND_MS, &dropped))
		LOG(ERROR, "store.write_back", "why=\"%s\" not_logged=%u", err.msg, dropped);
}

/* What is due, in this order: a new file, a transaction, a sync. */
static void work(struct writer *w, bool is_stopping)
{
	bool may_try = now_ms() >= w->retry_at_ms || is_stopping;

	if (w->must_renew && (!may_try || !renew(w))) {
		if (is_stopping && w->todo)
			give_back(w, -1);
		return;
	}
	if (w->todo && may_try && (!w->is_waiting || is_stopping))
		write_todo(w, is_stopping);
	if (w->sync_at_ms && (now_ms() >= w->sync_at_ms || is_stopping))
		sync_file(w);
	if (disk_is_due(w->disk))
		write_back(w);
}

/* Waits until there is something to do. mtx is held. */
static void wait_for_work(struct writer *w)
{
	while (!w->inbox && !w->asked && !w->is_stopping && !(w->must_renew && !w->retry_at_ms)) {
		uint64_t until =
		    w->retry_at_ms && (w->todo || w->must_renew) && !w->is_waiting ? w->retry_at_ms : w->sync_at_ms;
		struct timespec ts = {.tv_sec = (time_t)(until / 1000), .tv_nsec = (long)(until % 1000) * 1000000L};

		if (!until)
			pthread_cond_wait(&w->cond, &w->mtx);
		else if (now_ms() >= until)
			return;
		else
			pthread_cond_timedwait(&w->cond, &w->mtx, &ts);
	}
}

/* mtx is held. */
static void take_inbox(struct writer *w)
{
	for (const struct batch *b = w->inbox; b; b = b->next)
		w->is_waiting = w->is_waiting && !b->has_all;
	if (!w->inbox)
		return;
	*w->last_todo = w->inbox;
	w->last_todo = w->last_in;
	w->inbox = NULL;
	w->last_in = &w->inbox;
}

static void *writer_thread(void *arg)
{
	struct writer *w = arg;
	bool is_stopping;

	do {
		struct store_op *reads;

		pthread_mutex_lock(&w->mtx);
		wait_for_work(w);
		reads = w->asked;
		w->asked = NULL;
		is_stopping = w->is_stopping;
		take_inbox(w);
		pthread_mutex_unlock(&w->mtx);
		serve_reads(w, reads);
		work(w, is_stopping);
	} while (!is_stopping);
	return NULL;
}

static void writer_free(struct writer *w)
{
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mtx);
	mem_free(w);
}

struct writer *writer_start(struct disk *disk, const struct disk_loaded *loaded, uint64_t sync_ms,
    void (*wake)(void *arg), void *wake_arg, struct err *err)
{
	struct writer *w = mem_alloc(1, sizeof(*w));
	pthread_condattr_t attr;
	sigset_t all, before;
	int rc;

	if (!w) {
		err_set(err, ERR_NOMEM, "writer");
		return NULL;
	}
	*w = (struct writer){.disk = disk, .loaded = loaded, .sync_ms = sync_ms, .wake = wake, .wake_arg = wake_arg};
	w->sync_at_ms = sync_ms ? now_ms() + sync_ms : 0; /* what the program before us committed last */
	w->last_todo = &w->todo;
	w->last_in = &w->inbox;
	w->last_out = &w->outbox;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&w->mtx, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
	rc = pthread_create(&w->thread, NULL, writer_thread, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		return w;
	errno = rc;
	err_sys(err, "start the thread that writes");
	writer_free(w);
	return NULL;
}

void writer_give(struct writer *w, struct batch *batch, struct store_op *reads)
{
	struct store_op *next;

	pthread_mutex_lock(&w->mtx);
	if (batch) {
		*w->last_in = batch;
		w->last_in = &batch->next;
	}
	for (; reads; reads = next) {
		next = reads->next;
		reads->next = w->asked;
		w->asked = reads;
	}
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mtx);
}

bool writer_is_renewed(struct writer *w)
{
	bool is_renewed;

	pthread_mutex_lock(&w->mtx);
	is_renewed = w->is_renewed;
	pthread_mutex_unlock(&w->mtx);
	return is_renewed;
}

void writer_take(struct writer *w, struct writer_news *news)
{
	pthread_mutex_lock(&w->mtx);
	*news = (struct writer_news){.done = w->outbox,
	    .reads = w->read,
	    .is_failing = w->is_failing,
	    .is_renewed = w->is_renewed,
	    .copied = w->copied};
	w->is_renewed = false;
	w->outbox = NULL;
	w->last_out = &w->outbox;
	w->read = NULL;
	pthread_mutex_unlock(&w->mtx);
}

void writer_stop(struct writer **wp, struct writer_news *news)
{
	struct writer *w = *wp;

	*wp = NULL;
	pthread_mutex_lock(&w->mtx);
	w->is_stopping = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mtx);
	pthread_join(w->thread, NULL);
	writer_take(w, news);
	writer_free(w);
}
