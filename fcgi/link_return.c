/* What is said first on each connection but the first: what goes on here (doc/link.md). */
#include "config.h"

#include "common/mem.h"
#include "fcgi/link_priv.h"
#include "common/banned.h"

/* One that nobody waits for, and that may outlive the call that it is about. */
struct said {
	struct request req; /* first: it is what is freed */
	char key[LINK_KEY_MAX];
};

/* NULL: *err. */
static struct said *said_new(const struct link *l, enum link_type type, struct err *err)
{
	struct said *said = mem_alloc(1, sizeof(*said));

	if (!said) {
		err_set(err, ERR_NOMEM, "%s", link_type_name(type));
		return NULL;
	}
	request_init(&said->req, l, type, 0);
	said->req.owner = said;
	said->req.header.producer = l->producer;
	said->req.is_queued = true;
	return said;
}

static int say(struct request_fifo *first, struct request *req, struct err *err)
{
	req->header.body_len = (uint32_t)req->body.len;
	TAILQ_INSERT_TAIL(first, req, fifo);
	return buf_check(&req->body, err);
}

/* The call under the number that it has: to a broker that knows it this is a repetition. */
static int begin_again(
    const struct link *l, const struct call_entry *entry, struct request_fifo *first, struct err *err)
{
	struct said *said = said_new(l, LINK_CALL_BEGIN, err);

	if (!said)
		return -1;
	said->req.header.seq = entry->call.number;
	said->req.header.flags = LINK_RETRY;
	memcpy(said->key, entry->key, entry->key_len);
	said->req.key = (struct slice){said->key, entry->key_len};
	buf_add_slice(&said->req.body, buf_slice(&entry->body));
	return say(first, &said->req, err);
}

static int list_all(struct link *l, struct slice tasks, struct request_fifo *first, struct err *err)
{
	struct said *said = said_new(l, LINK_RETURN, err);

	if (!said)
		return -1;
	said->req.header.seq = l->returned_seq = ++l->seq;
	link_put_u32(&said->req.body, (uint32_t)l->calls_count);
	for (size_t i = 0; i < TABLE_SIZE; i++) {
		for (const struct call_entry *entry = l->calls[i]; entry; entry = entry->next) {
			link_put_u64(&said->req.body, entry->call.number);
			link_put_u64(&said->req.body, entry->stream);
		}
	}
	buf_add_slice(&said->req.body, tasks);
	return say(first, &said->req, err);
}

int link_return(struct link *l, bool is_known, struct slice tasks, struct err *err)
{
	struct request_fifo first = TAILQ_HEAD_INITIALIZER(first);
	struct request *req;
	int rc = 0;

	for (size_t i = 0; i < TABLE_SIZE && !is_known; i++) {
		for (const struct call_entry *entry = l->calls[i]; entry && !rc; entry = entry->next) {
			if (entry->is_begun && entry->body.len && !entry->stream)
				rc = begin_again(l, entry, &first, err);
		}
	}
	if (!rc)
		rc = list_all(l, tasks, &first, err);
	if (!rc) {
		TAILQ_CONCAT(&first, &l->sendq, fifo);
		TAILQ_CONCAT(&l->sendq, &first, fifo);
	}
	while ((req = TAILQ_FIRST(&first))) {
		TAILQ_REMOVE(&first, req, fifo);
		request_release(req);
		mem_free(req->owner);
	}
	return rc;
}
